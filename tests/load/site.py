"""The server under load: a pool of small images that never runs dry, and people who log in."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from app.access import keys, users
from app.access.passwords import Argon2
from app.access.roles import Role
from app.calcium.labels import LABELS
from app.exchange.data_folder import open_data_folder
from app.imaging.labelmap import write_label_map
from app.settings import Settings
from tests.journeys.pool import SHAPE, grid, tiny_labels, write_image
from tests.journeys.serving import RunningServer, started, wait_until

PASSWORD: Final = "correct horse battery staple"

ADMIN: Final = "admin"

_SETTINGS: Final = {
    "access": "on",
    # Everybody logs in from this one address, and works faster than any person.
    "login_rate": 0,
    "upload_rate": 0,
    "infer_rate": 0,
    "scan_seconds": 1.0,
}

_LOGINS_APART: Final = 5
"""One of so many annotators logs in by password."""

_ARRIVAL_S: Final = 0.2
"""Pause between two looks for whether more images are wanted."""

_SCAN_S: Final = 600.0
"""Longest wait until the images of the start are in the pool."""


@dataclass(frozen=True)
class Case:
    """An image of the pool with the one label that is made of it.

    Attributes:
        image: Its id.
        sha256: Hash of its file.
        label: A valid label, no other one has these bytes.
        click: A voxel (i, j, k) of its lesion.
    """

    image: str
    sha256: str
    label: bytes
    click: list[int]


@dataclass
class Cases:
    """The images written so far.

    Concurrency: one thread adds, everybody reads; one operation of a dictionary at a time.
    """

    studies: Path
    known: dict[str, Case] = field(default_factory=dict)

    def write(self, count: int) -> None:
        """Let so many images arrive in the studies folder."""
        for number in range(len(self.known), len(self.known) + count):
            case = make_case(self.studies.with_name("making"), number)
            self.known[case.image] = case
            # Known before the scan can find it, and there as a whole.
            made = self.studies.with_name("making") / f"{case.image}.nii.gz"
            made.rename(self.studies / made.name)


def make_case(folder: Path, number: int) -> Case:
    """Write the image of a number into a folder, and make its label."""
    folder.mkdir(exist_ok=True)
    name = f"case_{number}"
    image = write_image(folder / f"{name}.nii.gz", number)
    labels = tiny_labels(number)
    z, y, x = (int(axis[0]) for axis in np.nonzero(labels == LABELS["LAD"]))
    # Voxels that spell the number, so that no two labels are equal.
    digits = np.array([int(digit) for digit in f"{number:024b}"], np.uint8)
    labels[0, 0, : digits.size] = digits * LABELS["RCA_region"]
    path = folder / f"{name}.nrrd"
    write_label_map(path, labels, grid(), compress=True, names=LABELS)
    content = path.read_bytes()
    path.unlink()
    assert labels.shape == SHAPE
    return Case(name, hashlib.sha256(image.read_bytes()).hexdigest(), content, [x, y, z])


@dataclass(frozen=True)
class Site:
    """A running server with its pool and its people.

    Attributes:
        server: The server.
        settings: Its data folder.
        cases: Its images.
        keys: API key of each person who does not log in by password.
        annotators: Names of the annotators; those without a key log in.
    """

    server: RunningServer
    settings: Settings
    cases: Cases
    keys: dict[str, str]
    annotators: list[str]

    def admin(self) -> dict[str, str]:
        """Return the header of the admin."""
        return {"Authorization": f"Bearer {self.keys[ADMIN]}"}

    def images(self) -> int:
        """Count the images of the pool."""
        answer = self.server.request("GET", "/datastore/", headers=self.admin())
        return int(answer.json()["total"])

    def log_in(self, name: str) -> str:
        """Return what a person shows: a key, or the token of a login by password."""
        if name in self.keys:
            return self.keys[name]
        form = {"username": name, "password": PASSWORD}
        answer = self.server.request("POST", "/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@contextmanager
def open_site(folder: Path, *, images: int, annotators: int, **settings: object) -> Iterator[Site]:
    """Serve so many images to so many annotators; some of them log in, the others have a key."""
    studies = folder / "studies"
    studies.mkdir()
    cases = Cases(studies)
    cases.write(images)
    of_folder = Settings(studies=studies, data=folder / "data")
    names = [f"annotator-{number}" for number in range(annotators)]
    made = _add_people(of_folder, names)
    with started(studies, of_folder.data, **{**_SETTINGS, **settings}) as server:
        site = Site(server, of_folder, cases, made, names)
        wait_until(lambda: site.images() == images, server, _SCAN_S)
        yield site


@contextmanager
def arriving(cases: Cases, is_wanted: threading.Event, count: int) -> Iterator[None]:
    """Let ``count`` images arrive whenever they are wanted, until the block ends."""

    def arrive() -> None:
        if is_wanted.is_set():
            cases.write(count)
            is_wanted.clear()

    with repeated(arrive, _ARRIVAL_S):
        yield


@contextmanager
def repeated(act: Callable[[], object], pause_s: float) -> Iterator[None]:
    """Do something again and again beside the block, with pauses."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(pause_s):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _add_people(settings: Settings, annotators: list[str]) -> dict[str, str]:
    hashed, made = Argon2().hash(PASSWORD), dict[str, str]()
    roles = {ADMIN: Role.ADMIN} | dict.fromkeys(annotators, Role.ANNOTATOR)
    with open_data_folder(settings, make=True) as data, data.database.writing() as session:
        for number, (name, role) in enumerate(roles.items()):
            users.add_user(
                session, name, role, password_hash=hashed, actor="operator", now=time.time()
            )
            if number % _LOGINS_APART != 1:
                now = time.time()
                _, key = keys.add_key(session, name, label="", actor="operator", now=now)
                made[name] = key
    return made
