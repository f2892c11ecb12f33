"""OHIF in a headless Chromium, driven as an annotator would."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Page, sync_playwright

from app.calcium.labels import ARTERIES, LABELS

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Cornerstone draws by WebGL; there is no graphics card.
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)

_SIZE = {"width": 1400, "height": 900}

_VIEWPORT = """Array.from(
    services.cornerstoneViewportService.viewportsById.keys(),
    id => services.cornerstoneViewportService.getCornerstoneViewport(id),
)[0]"""
"""The first viewport, which shows axial slices."""

_LABELMAP = "services.segmentationService.getLabelmapVolume('1')"
"""The labelmap of the panel."""

_IS_LOADED = f"""() => {{
    const services = window.services;
    if (!services || !services.cornerstoneViewportService.viewportsById.size) return false;
    const viewport = {_VIEWPORT};
    const name = viewport && viewport.getVolumeId && viewport.getVolumeId();
    const volume = name && cornerstone.cache.getVolume(name);
    return Boolean(volume) && volume.loadStatus.loaded;
}}"""
"""Until every slice has come, the viewer shows others in the place of missing ones."""

_HAS_LABELMAP = f"() => Boolean({_LABELMAP})"

_HAS_VOXELS = f"() => {_LABELMAP}.voxelManager.getCompleteScalarDataArray().some(x => x !== 0)"

_HAS_SEGMENT = f"""number =>
    {_LABELMAP}.voxelManager.getCompleteScalarDataArray().some(x => x === number)"""

_SHOW_SLICE = f"""async slice => {{
    const viewport = {_VIEWPORT};
    // The axial viewport counts its slices from the head.
    viewport.scroll({_LABELMAP}.dimensions[2] - 1 - slice - viewport.getSliceIndex());
    for (const id of services.cornerstoneViewportService.viewportsById.keys()) {{
        const shown = services.cornerstoneViewportService.getCornerstoneViewport(id);
        shown.setProperties({{ voiRange: {{ lower: -200, upper: 500 }} }});
        shown.render();
    }}
}}"""

_SEGMENTS = """() => Object.fromEntries(
    Object.values(services.segmentationService.getSegmentation('1').segments)
        .map(segment => [segment.label, segment.segmentIndex]))"""

_POINTS = "() => cornerstoneTools.annotation.state.getAllAnnotations().length"

_CANVAS_PLACE = f"""([x, y, z]) => {{
    const viewport = {_VIEWPORT};
    const world = {_LABELMAP}.imageData.indexToWorld([x, y, z]);
    const [left, top] = viewport.worldToCanvas(world);
    const frame = viewport.canvas.getBoundingClientRect();
    return [frame.x + left, frame.y + top];
}}"""

_IS_DRAWN = "updated the segmentation's scalar data"
"""What the panel tells the console when it has drawn an answer."""

_WAIT_MS = 60_000
"""Longest wait for anything: the bundle is large and the machine may be busy."""


@dataclass
class Viewer:
    """A page of the browser and what went wrong in it.

    Attributes:
        page: The page.
        url: Address of the server without a slash at its end.
        errors: Errors of the console, and answers of 400 and more.
        foreign: Addresses of other hosts that the page asked for.
    """

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def open_list(self, patient: str, *, annotator: str = "") -> None:
        """Open the list of studies and put its notice aside; ready when the patient is listed."""
        self.page.goto(f"{self.url}/ohif" + (f"?client_id={annotator}" if annotator else ""))
        self.page.get_by_text("Confirm and Hide").click()
        self.page.get_by_text(patient).first.wait_for()

    def open_study(self, study_uid: str) -> None:
        """Open a study with the panel of MONAI Label; ready when its series is loaded."""
        self.page.goto(f"{self.url}/ohif/monai-label?StudyInstanceUIDs={study_uid}")
        self.page.wait_for_function(_IS_LOADED)

    def connect(self) -> None:
        """Press the button beside the address of the server."""
        self.page.locator(".settingsTable button").click()
        self.page.get_by_text("Auto-Segmentation").wait_for()
        self.page.wait_for_function(_HAS_LABELMAP)

    def segment(self) -> None:
        """Let the model segment the series; ready when its voxels are there."""
        self.page.locator(".tab-content:visible button", has_text="Run").click()
        self.page.wait_for_function(_HAS_VOXELS)

    def next_sample(self, then: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """Ask for the next sample; returns the answer and closes what shows it after ``then``."""
        self._open_active_learning()
        with self.page.expect_response("**/activelearning/**") as answer:
            self.page.get_by_role("button", name="Next Sample").click()
        self.page.get_by_text("Active Learning - Next Sample").wait_for()
        then()
        self.page.keyboard.press("Escape")
        sample: dict[str, Any] = answer.value.json()
        return sample

    def update_model(self) -> None:
        """Start a training; ready when the server has taken it on."""
        self._open_active_learning()
        with self.page.expect_response(lambda answer: answer.request.method == "POST") as answer:
            self.page.get_by_role("button", name="Update Model").click()
        assert answer.value.url.endswith("/train/")
        assert answer.value.status == 200

    def _open_active_learning(self) -> None:
        button = self.page.get_by_role("button", name="Next Sample")
        if not self.page.locator("input[name=activelearning]").is_checked():
            self.page.get_by_text("Active Learning", exact=True).click()
        button.wait_for()

    def show_calcium(self) -> None:
        """Scroll the first viewport to the slice with the most calcium, in a window for it."""
        calcium = [number for name, number in self.segments().items() if name in ARTERIES]
        self.show_slice(int(np.isin(self.labelmap(), calcium).sum(axis=(1, 2)).argmax()))

    def show_slice(self, z: int) -> None:
        """Scroll the first viewport to a slice of the labelmap, in a window for calcium."""
        self.page.evaluate(_SHOW_SLICE, z)

    def choose_point_prompts(self, model: str, label: str) -> None:
        """Open the point prompts with a model, and choose the segment that clicks are for."""
        self._tab("Point Prompts").locator("label").click()
        self._tab("Point Prompts").locator("select").select_option(model)
        self.choose_label(label)

    def choose_label(self, label: str) -> None:
        """Choose the segment that the next clicks are for; ``background`` cuts."""
        row = self._tab("Point Prompts").locator("tr.clickable-row")
        row.filter(has=self.page.get_by_text(label, exact=True)).click()

    def click_voxel(self, voxel: tuple[int, int, int]) -> None:
        """Click on a voxel (z, y, x) of the slice that is shown; ready when the point is kept."""
        count = self.page.evaluate(_POINTS)
        self.page.mouse.click(*self.place_of(voxel))
        self.page.wait_for_function(f"count => ({_POINTS})() > count", arg=count)

    def place_of(self, voxel: tuple[int, int, int]) -> tuple[float, float]:
        """Return where on the page the middle of a voxel (z, y, x) is drawn."""
        left, top = self.page.evaluate(_CANVAS_PLACE, list(voxel[::-1]))
        return float(left), float(top)

    def run(self, tab: str) -> None:
        """Press *Run* of a tab of the panel; ready when the answer is drawn."""
        with self.page.expect_event("console", lambda message: _IS_DRAWN in message.text):
            self._tab(tab).get_by_role("button", name="Run").click()

    def run_in_vain(self, tab: str) -> None:
        """Press *Run* of a tab of the panel; ready when the server has refused."""
        with self.page.expect_response("**/infer/**") as answer:
            self._tab(tab).get_by_role("button", name="Run").click()
        assert answer.value.status == 422

    def _tab(self, title: str) -> Locator:
        tabs = self.page.locator(".tab")
        return tabs.filter(has=self.page.get_by_text(title, exact=True))

    def show_tools(self) -> None:
        """Show the panel of segmentations with its tools."""
        self.page.locator('[data-cy="panelSegmentationWithTools-btn"]').click()
        self.page.locator('[data-cy="Calcium"]').wait_for()

    def paint(self, segment: str, voxel: tuple[int, int, int]) -> None:
        """Touch a voxel (z, y, x) of the shown slice with the calcium brush; ready when drawn."""
        row = self.page.locator('[data-cy="data-row"]')
        row.filter(has=self.page.get_by_text(segment, exact=True)).click()
        self.page.locator('[data-cy="Calcium"]').click()
        left, top = self.place_of(voxel)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move(left + 1, top + 1)
        self.page.mouse.up()
        number = self.segments()[segment]
        self.page.wait_for_function(_HAS_SEGMENT, arg=number)

    def save_label(self) -> None:
        """Press the button that saves; ready when the page says that it is done."""
        with self.page.expect_response(lambda answer: answer.request.method == "POST"):
            self.page.locator('[data-cy="SaveLabel"]').click()
        told = self.page.get_by_text("The label is saved on the server.")
        told.first.wait_for()

    def segments(self) -> dict[str, int]:
        """Return the number of each segment by its name."""
        segments: dict[str, int] = self.page.evaluate(_SEGMENTS)
        return segments

    def labelmap(self) -> NDArray[np.float64]:
        """Return the segment of each voxel as it is shown, shape (Z, Y, X)."""
        return self._voxels(f"{_LABELMAP}")

    def label(self) -> NDArray[np.uint8]:
        """Return the same with the values of the server."""
        numbers, drawn = self.segments(), self.labelmap()
        values = np.zeros(drawn.shape, np.uint8)
        for name, value in LABELS.items():
            values[drawn == numbers[name]] = value
        return values

    def image(self) -> NDArray[np.float64]:
        """Return the HU of each voxel as they are shown, shape (Z, Y, X)."""
        return self._voxels(f"{_VIEWPORT}.getImageData()")

    def _voxels(self, volume: str) -> NDArray[np.float64]:
        script = f"""() => {{ const volume = {volume}; return [
            Array.from(volume.dimensions),
            Array.from(volume.voxelManager.getCompleteScalarDataArray()),
        ]; }}"""
        dimensions, values = self.page.evaluate(script)
        return np.asarray(values, np.float64).reshape(dimensions[::-1])


def watch(viewer: Viewer) -> None:
    """Keep what goes wrong on the page."""

    def console(message: Any) -> None:
        if message.type == "error":
            viewer.errors.append(message.text)

    def request(request: Any) -> None:
        if not request.url.startswith((viewer.url, "blob:", "data:")):
            viewer.foreign.append(request.url)

    def response(response: Any) -> None:
        if response.status >= 400:
            viewer.errors.append(f"{response.status} {response.url}")

    viewer.page.on("console", console)
    viewer.page.on("pageerror", lambda error: viewer.errors.append(str(error)))
    viewer.page.on("request", request)
    viewer.page.on("response", response)


@contextmanager
def viewing(url: str) -> Iterator[Viewer]:
    """Open a browser until the block ends; the test is skipped where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        page = browser.new_page(viewport=_SIZE)  # type: ignore[arg-type]  # a TypedDict
        page.set_default_timeout(_WAIT_MS)
        viewer = Viewer(page, url)
        watch(viewer)
        try:
            yield viewer
        finally:
            browser.close()
