"""How long a click on calcium takes, from the request to the mask."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import requests

from app.calcium.labels import ARTERIES
from app.calcium.phantom import phantom_patient
from app.imaging.volume_writer import write_volume
from app.settings import Settings
from server.bench.figures import Figure, Section, latency, time_calls
from server.bench.scale import Scale
from server.bench.site import running_site
from server.demo.server_process import private_settings

_SLICES = 57
"""Slices of a typical calcium scan; 512x512x57 are the numbers of the design."""

_CLICKS = (1, 10)
"""Clicks of a request: 3D Slicer sends all clicks of a segment with each new one."""

_COLD_CALLS = 3

_TIMEOUT_S = 60.0


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
    with (
        running_site(folder, settings, scale.narrator, workers=0) as site,
        requests.Session() as http,
    ):
        http.trust_env = False
        _upload(http, site.url, folder / "patient.nii.gz")

        def click(count: int) -> None:
            params = {"label": "LAD", "foreground": places[:count], "background": []}
            address = f"{site.url}/infer/lesion_click?image=patient"
            answer = http.post(address, data={"params": json.dumps(params)}, timeout=_TIMEOUT_S)
            answer.raise_for_status()

        cold = [_cold(settings, partial(click, 1)) for _ in range(_COLD_CALLS)]
        figures.append(
            Figure("first click on an image, median", float(np.median(cold)) * 1000, "ms")
        )
        for count in _CLICKS:
            name = "one click" if count == 1 else f"{count} clicks"
            figures += latency(name, time_calls(partial(click, count), scale.calls))
    size = f"{scale.side}x{scale.side}x{_SLICES}"
    setting = (
        f"POST /infer/lesion_click on one synthetic patient of {size} voxels, answered with mask "
        "and figures. The first click decodes the image's file, unless a prediction did before."
    )
    return Section("clicks", "Clicks on calcium", setting, tuple(figures))


def _upload(http: requests.Session, url: str, path: Path) -> None:
    with path.open("rb") as file:
        address = f"{url}/datastore/?image=patient"
        http.put(address, files={"file": (path.name, file)}, timeout=_TIMEOUT_S).raise_for_status()


def _cold(settings: Settings, click: Callable[[], None]) -> float:
    for array in (settings.cache / "arrays").glob("*.npy"):
        array.unlink()
    [seconds] = time_calls(click, 1)
    return seconds
