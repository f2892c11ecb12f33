"""A DICOMweb server that answers what a test says: for answers no sound server would give."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Answer(NamedTuple):
    """What goes back to the client."""

    body: bytes = b""
    kind: str = "application/dicom+json"
    status: int = 200
    missing: int = 0
    """Bytes that are announced beside the body and do not come until the stub ends."""
    has_length: bool = True
    """Whether the length is announced at all; the end of the connection tells it otherwise."""


class Query(NamedTuple):
    """What the client asked."""

    path: str
    values: dict[str, str]
    headers: dict[str, str]


@dataclass
class Stub:
    """A running stub; it remembers what it was asked."""

    answer: Callable[[Query], Answer]
    queries: list[Query] = field(default_factory=list)
    url: str = ""
    is_over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def stub(answer: Callable[[Query], Answer]) -> Iterator[Stub]:
    """Run a server on loopback until the block ends."""
    running = Stub(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            values = {name: given[0] for name, given in parse_qs(parts.query).items()}
            query = Query(parts.path, values, dict(self.headers))
            running.queries.append(query)
            reply = running.answer(query)
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            if reply.has_length:
                self.send_header("Content-Length", str(len(reply.body) + reply.missing))
            self.end_headers()
            with suppress(ConnectionError):  # A client that has read enough goes away.
                self.wfile.write(reply.body)
            if reply.missing:
                running.is_over.wait()
                self.close_connection = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.url = f"http://127.0.0.1:{httpd.server_address[1]}/dicom-web"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        running.is_over.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()
