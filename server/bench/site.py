"""A real server for the length of a measurement."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.settings import Settings
from server.demo.client import AnnotationClient
from server.demo.narration import Narrator
from server.demo.server_process import running_server
from server.demo.waiting import Step, Waiting

CLIENT: Final = "bench"

_START_S: Final = 180.0
"""Longest time for server and worker to start."""


@dataclass(frozen=True)
class Site:
    """A running server.

    Attributes:
        client: Way to it.
        waiting: Waits for it.
    """

    client: AnnotationClient
    waiting: Waiting

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.waiting.server.url


@contextmanager
def running_site(
    folder: Path, settings: Settings, narrator: Narrator, *, workers: int = 1
) -> Iterator[Site]:
    """Run ``caclabel serve`` for the length of the block."""
    arguments = ("--workers", str(workers))
    with (
        running_server(settings, folder / "server.log", arguments) as server,
        closing(AnnotationClient(server.url, CLIENT)) as client,
    ):
        waiting = Waiting(server, narrator)
        is_up = client.is_ready if workers else client.is_answering
        waiting.until_done(lambda: Step(is_up(), 0.0, "the server starts"), _START_S)
        yield Site(client, waiting)
