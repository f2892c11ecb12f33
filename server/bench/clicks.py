"""How long a click on calcium takes, from the request to the mask."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import requests
from sqlalchemy import select

from app import jobs
from app.calcium.labels import ARTERIES
from app.calcium.phantom import phantom_patient
from app.errors import JobFailedError
from app.imaging.volume_writer import write_volume
from app.settings import Settings
from app.store.database import Database
from app.store.tables import JobRow
from server.bench.figures import Figure, Section, latency, time_calls
from server.bench.scale import Scale
from server.bench.site import running_site
from server.demo.server_process import private_settings

_SLICES = 57
"""Slices of a typical calcium scan; 512x512x57 are the numbers of the design."""

_CLICKS = (1, 10)
"""Clicks of a request: 3D Slicer sends all clicks of a segment with each new one."""

_COLD_CALLS = 5

_TIMEOUT_S = 60.0

_POLL_S = 0.01


def measure(scale: Scale) -> Section:
    """Click on a synthetic patient, over HTTP."""
    folder = scale.folder / "clicks"
    folder.mkdir(parents=True)
    settings = private_settings(folder)
    scale.narrator.progress("making a large synthetic patient")
    phantom = phantom_patient(1, 4, (scale.side, scale.side, _SLICES))
    write_volume(folder / "patient.nii.gz", phantom.volume)
    calcium = (phantom.labels > 0) & (phantom.labels <= len(ARTERIES))
    voxels = np.argwhere(calcium & (phantom.volume.hu >= phantom.volume.hu[calcium].mean()))
    places = np.random.default_rng(0).permutation(voxels)[: max(_CLICKS)][:, ::-1].tolist()
    figures: list[Figure] = []
    opening: list[float] = []
    opened: list[float] = []
    cold: list[float] = []
    with (
        running_site(folder, settings, scale.narrator) as site,
        requests.Session() as http,
        closing(Database(settings.database)) as database,
    ):
        http.trust_env = False
        _upload(http, site.url, folder / "patient.nii.gz")

        def click(count: int) -> None:
            params = {"label": "LAD", "foreground": places[:count], "background": []}
            address = f"{site.url}/infer/lesion_click?image=patient"
            answer = http.post(address, data={"params": json.dumps(params)}, timeout=_TIMEOUT_S)
            answer.raise_for_status()

        def open_image() -> None:
            address = f"{site.url}/datastore/image?image=patient"
            http.get(address, timeout=_TIMEOUT_S).raise_for_status()
            _wait_for_array(settings)

        one = partial(click, 1)
        figures += latency("first click after an upload", time_calls(one, 1))
        for _ in range(_COLD_CALLS):
            _forget(settings, database)
            opening += time_calls(open_image, 1)
            opened += time_calls(one, 1)
        figures += latency("opening an image, until a worker has decoded it", opening)
        figures += latency("first click in an opened image", opened)
        for _ in range(_COLD_CALLS):
            _forget(settings, database)
            cold += time_calls(one, 1)
            _wait_for_array(settings)
        figures += latency("first click in an image that nothing has decoded", cold)
        for count in _CLICKS:
            name = "one click" if count == 1 else f"{count} clicks"
            figures += latency(name, time_calls(partial(click, count), scale.calls))
    size = f"{scale.side}x{scale.side}x{_SLICES}"
    setting = (
        f"POST /infer/lesion_click on one synthetic patient of {size} voxels, answered with mask "
        "and figures, beside an idle worker. An image is opened by GET /datastore/image."
    )
    return Section("clicks", "Clicks on calcium", setting, tuple(figures))


def _upload(http: requests.Session, url: str, path: Path) -> None:
    with path.open("rb") as file:
        address = f"{url}/datastore/?image=patient"
        http.put(address, files={"file": (path.name, file)}, timeout=_TIMEOUT_S).raise_for_status()


def _forget(settings: Settings, database: Database) -> None:
    """Remove the arrays of images, as if nothing had decoded them.

    Opening an image asks for nothing while a job of its last opening is still open, which may have
    found the array that is removed here: such a job ends first.
    """
    _wait_until(lambda: not _has_open_job(database), "no worker has ended its jobs")
    for array in _arrays(settings):
        array.unlink()


def _wait_for_array(settings: Settings) -> None:
    _wait_until(lambda: bool(_arrays(settings)), "no worker has decoded the image")


def _wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise JobFailedError(f"{otherwise} within {_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)


def _has_open_job(database: Database) -> bool:
    with database.reading() as session:
        return session.scalar(select(JobRow.id).where(JobRow.status.in_(jobs.OPEN))) is not None


def _arrays(settings: Settings) -> list[Path]:
    return list((settings.cache / "arrays").glob("*.npy"))
