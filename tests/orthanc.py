"""A real DICOMweb server for tests: Debian's Orthanc on a free port, with a folder of its own."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import HTTPBasicAuth

_PROGRAM = "Orthanc"

_PLUGINS = Path("/usr/share/orthanc/plugins")
"""Where Debian puts the DICOMweb plugin."""

_START_S = 60.0

_REQUEST_S = 30.0

_PAUSE_S = 0.05


@dataclass
class OrthancServer:
    """An Orthanc that can be killed and started again; its folder survives.

    Attributes:
        folder: Its configuration, database and files.
        port: Its HTTP port on loopback.
        users: Passwords by user name; without any, everybody may ask.
        dicomweb: Further options of the DICOMweb plugin.
    """

    folder: Path
    port: int
    users: dict[str, str] = field(default_factory=dict)
    dicomweb: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def root(self) -> str:
        """Address of its own REST interface, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The DICOMweb root, without a slash at the end."""
        return f"{self.root}/dicom-web"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration()))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([_PROGRAM, str(configuration)], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        pause = threading.Event()
        while not self._answers():
            assert self.process.poll() is None, "Orthanc has ended; see orthanc.log"
            assert time.monotonic() < deadline, f"Orthanc does not answer after {_START_S:g} s"
            pause.wait(_PAUSE_S)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def upload(self, files: Iterable[Path | bytes]) -> list[str]:
        """Store DICOM files; returns Orthanc's own names of the instances."""
        names = []
        for file in files:
            content = file if isinstance(file, bytes) else file.read_bytes()
            names.append(self.request("POST", "/instances", data=content).json()["ID"])
        return names

    def delete_series(self, series_uid: str) -> None:
        """Delete a series."""
        for name in self.find("Series", SeriesInstanceUID=series_uid):
            self.request("DELETE", f"/series/{name}")

    def find(self, level: str, **query: str) -> list[str]:
        """Return Orthanc's own names of what matches; ``level`` is Series, Instance and so on."""
        body = {"Level": level, "Query": query}
        found: list[str] = self.request("POST", "/tools/find", json=body).json()
        return found

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request to Orthanc's own REST interface and check that it succeeded."""
        user = next(iter(self.users.items()), None)
        # As bytes, because requests knows only Latin-1 names.
        basic = HTTPBasicAuth(user[0].encode(), user[1].encode()) if user else None
        answer = requests.request(
            method, self.root + path, auth=basic, timeout=_REQUEST_S, **arguments
        )
        answer.raise_for_status()
        return answer

    def _answers(self) -> bool:
        try:
            requests.get(self.root + "/system", timeout=_REQUEST_S)
        except requests.ConnectionError:
            return False
        return True

    def _configuration(self) -> dict[str, Any]:
        storage = str(self.folder / "storage")
        return {
            "Name": "tests",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "Plugins": [str(_PLUGINS)],
            "HttpPort": self.port,
            "HttpServerEnabled": True,
            "RemoteAccessAllowed": False,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": bool(self.users),
            "RegisteredUsers": self.users,
            "OverwriteInstances": True,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", **self.dicomweb},
        }


@contextmanager
def orthanc(
    folder: Path, *, users: dict[str, str] | None = None, **dicomweb: Any
) -> Iterator[OrthancServer]:
    """Run an Orthanc until the block ends; the test is skipped where it is not installed."""
    plugin = _PLUGINS / "libOrthancDicomWeb.so"
    if shutil.which(_PROGRAM) is None or not plugin.exists():
        pytest.skip("Orthanc is not installed; apt-get install orthanc orthanc-dicomweb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = OrthancServer(folder, port, users or {}, dicomweb)
    try:
        server.start()
        yield server
    finally:
        server.kill()
