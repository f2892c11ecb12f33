"""A DICOMweb server that is killed in the middle of an answer or of storing; nothing is lost."""

import itertools
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydantic import HttpUrl

from app.errors import PacsDownError
from app.pacs.retrieval import discard, local_files
from app.pacs.sync import sync
from app.store.tables import JobRow
from tests.app.pacs.export_site import ExportSite, closing, make_site
from tests.factories import SHAPE
from tests.orthanc import OrthancServer, orthanc

_SEEDS = itertools.count(300)

_PIECE_BYTES = 512


@dataclass
class Relay:
    """Passes requests on; kills the server in the middle of one that begins as it was told.

    Attributes:
        server: The server behind it.
        listener: Where it listens.
        deadly: How the request begins; empty: none does.
        after_bytes: How much of the answer comes through before.
        is_request_cut: Whether only half of the request reaches the server instead.
    """

    server: OrthancServer
    listener: socket.socket
    deadly: bytes = b""
    after_bytes: int = 0
    is_request_cut: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/dicom-web"

    def run(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        request = _read_request(client)
        if self.server.process is None or not request:
            return
        is_deadly = bool(self.deadly) and request.startswith(self.deadly)
        with socket.create_connection(("127.0.0.1", self.server.port)) as server:
            if is_deadly and self.is_request_cut:
                server.sendall(request[: len(request) // 2])
                self.server.kill()
                return
            server.sendall(request)
            passed = 0
            while piece := server.recv(_PIECE_BYTES):
                if not passed:
                    # A client may ask again on a connection that it does not know to be closed.
                    piece = piece.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
                if is_deadly and passed + len(piece) > self.after_bytes:
                    client.sendall(piece[: self.after_bytes - passed])
                    self.server.kill()
                    return
                client.sendall(piece)
                passed += len(piece)


def _read_request(client: socket.socket) -> bytes:
    """Read a whole request, and have the connection closed after its answer."""
    content = b""
    while b"\r\n\r\n" not in content:
        piece = client.recv(_PIECE_BYTES)
        if not piece:
            return b""
        content += piece
    head, _, body = content.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += client.recv(_PIECE_BYTES)
    head = head.replace(b"Connection: keep-alive", b"Connection: close")
    return head + b"\r\n\r\n" + body


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def relay(server: OrthancServer) -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Relay(server, listener)
        thread = threading.Thread(target=running.run)
        thread.start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def site(
    server: OrthancServer, relay: Relay, tmp_path: Path, migrated_file: Path
) -> Iterator[ExportSite]:
    if server.process is None:
        server.start()
    made = make_site(server, tmp_path, migrated_file, seed=next(_SEEDS))
    behind = made.context.settings.model_copy(update={"studies": HttpUrl(relay.url)})
    yield from closing(replace(made, context=replace(made.context, settings=behind)))


def test_half_a_retrieval_is_none_and_is_repeated(
    server: OrthancServer, relay: Relay, site: ExportSite
) -> None:
    settings, image = site.context.settings, site.image
    discard(settings, image.id)
    # In the middle of the pixels of the last slice.
    size = sum(path.stat().st_size for path in site.files)
    relay.deadly = f"GET /dicom-web/studies/{image.study_uid}/series/{image.id} ".encode()
    relay.after_bytes = size + size // (4 * len(site.files))
    with pytest.raises(PacsDownError):
        local_files(settings, image)
    assert server.process is None
    relay.deadly = b""
    server.start()
    found = {path.stem: pydicom.dcmread(path) for path in local_files(settings, image)}
    assert found == {str(one.SOPInstanceUID): one for one in map(pydicom.dcmread, site.files)}
    for _ in sync(site.context, JobRow(id="sync")):
        pass
    assert site.image.missing_since is None


@pytest.mark.parametrize("is_request_cut", [True, False])
def test_a_label_that_was_half_stored_is_stored_once(
    server: OrthancServer, relay: Relay, site: ExportSite, is_request_cut: bool
) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:3, 1:4, 1:4] = 2
    submitted = site.submit(label)
    relay.deadly, relay.is_request_cut = b"POST /dicom-web/studies ", is_request_cut
    site.export()
    (row,) = site.exports()
    assert (row.status, row.refusals, server.process) == ("waiting", 0, None)
    assert [one.id for one in site.labels()] == [submitted.id]
    relay.deadly = b""
    server.start()
    site.clock.now += 60
    site.export()
    assert site.exports()[0].status == "done"
    study = site.image.study_uid
    counts = [
        len(server.find("Instance", StudyInstanceUID=study, Modality=kind))
        for kind in ("SEG", "SR")
    ]
    assert counts == [1, 1]
