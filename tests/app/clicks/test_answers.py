"""Label map and figures of clicks, in every orientation of the image's file."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.arrays import axial_image
from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.clicks.answers import ClickAnswer, assign_lesions, fill_lesions
from app.clicks.lesions import Clicks
from app.errors import InvalidInputError
from app.imaging.orientation import from_axial
from app.imaging.volume import Volume
from app.settings import Settings
from tests.app.clicks.scenes import image, scene
from tests.factories import ORIENTATIONS, make_grid

SHAPE = (6, 40, 50)

LESION = np.s_[2:4, 10:12, 20:24]
OTHER = np.s_[2:3, 30:32, 40:44]

# Clicks are (i, j, k) = (x, y, z).
ON_LESION = (21, 10, 2)
ON_OTHER = (41, 30, 2)
ON_NOTHING = (5, 35, 4)


@pytest.fixture
def settings() -> Settings:
    return Settings(data=Path("never-used"))


def two_lesions() -> NDArray[np.int16]:
    return scene(SHAPE, LESION, OTHER, hu=350)


def filled(settings: Settings, clicks: Clicks) -> ClickAnswer:
    return fill_lesions(image(two_lesions()), clicks, settings, label="LAD")


def mask_with(*boxes: tuple[slice, slice, slice]) -> NDArray[np.uint8]:
    mask = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask


def test_the_lesion_is_value_one_of_the_label(settings: Settings) -> None:
    answer = filled(settings, Clicks([ON_LESION]))
    np.testing.assert_array_equal(answer.mask, mask_with(LESION))
    assert answer.label_names == {"LAD": 1}


def test_figures_are_those_of_the_lesion(settings: Settings) -> None:
    # Two slices of 8 voxels of 0.25 mm2 at 350 HU, weight 3; 16 voxels of 0.75 mm3.
    answer = filled(settings, Clicks([ON_LESION]))
    calcium = answer.table["calcium"]
    assert calcium["agatston"] == pytest.approx(2 * 8 * 0.25 * 3)
    assert calcium["volume_mm3"] == pytest.approx(12.0)
    assert calcium["mass_mg"] == pytest.approx(12.0 * 350 * 0.000722)
    assert (calcium["lesions"], calcium["peak_hu"]) == (1, 350)
    [lesion] = answer.table["lesions"]
    assert lesion["agatston"] == pytest.approx(12.0)
    assert lesion["click"] == list(ON_LESION)
    assert "message" not in answer.table


def test_several_clicks_fill_several_lesions_and_each_once(settings: Settings) -> None:
    clicks = Clicks([ON_LESION, ON_OTHER, (20, 11, 3)])
    answer = filled(settings, clicks)
    np.testing.assert_array_equal(answer.mask, mask_with(LESION, OTHER))
    assert answer.table["calcium"]["lesions"] == 2
    assert [row["click"] for row in answer.table["lesions"]] == [list(c) for c in clicks.foreground]


def test_a_click_on_nothing_says_so_and_leaves_the_others(settings: Settings) -> None:
    answer = filled(settings, Clicks([ON_NOTHING, ON_LESION]))
    np.testing.assert_array_equal(answer.mask, mask_with(LESION))
    assert "130 HU" in answer.table["message"]
    assert "agatston" not in answer.table["lesions"][0]


@pytest.mark.parametrize("clicks", [Clicks([]), Clicks([ON_NOTHING]), Clicks([(999, -5, 0)])])
def test_nothing_is_an_empty_mask_with_a_message(settings: Settings, clicks: Clicks) -> None:
    answer = filled(settings, clicks)
    assert answer.mask.shape == SHAPE
    assert not answer.mask.any()
    assert answer.table["calcium"]["agatston"] == 0
    assert answer.table["message"]


def test_a_background_click_takes_its_part(settings: Settings) -> None:
    # Columns 20 to 23; the last two are nearer to column 23.
    answer = filled(settings, Clicks([(20, 10, 2)], background=[(23, 10, 2)]))
    np.testing.assert_array_equal(answer.mask, mask_with(np.s_[2:4, 10:12, 20:22]))


class TestStartingFromCalcium:
    """Calcium that was there before the clicks, say of a prediction."""

    def test_stays_beside_what_is_clicked(self, settings: Settings) -> None:
        # The prediction went one column too far, into tissue.
        before = mask_with(np.s_[2:3, 30:32, 40:45]) > 0
        opened = image(two_lesions())
        answer = fill_lesions(opened, Clicks([ON_LESION]), settings, label="LAD", before=before)
        np.testing.assert_array_equal(answer.mask, mask_with(LESION, OTHER))
        assert answer.table["calcium"]["lesions"] == 2

    def test_a_background_click_takes_a_lesion_of_it_away(self, settings: Settings) -> None:
        opened, before = image(two_lesions()), mask_with(LESION, OTHER) > 0
        clicks = Clicks([], background=[ON_OTHER])
        answer = fill_lesions(opened, clicks, settings, label="LAD", before=before)
        np.testing.assert_array_equal(answer.mask, mask_with(LESION))

    def test_a_background_click_elsewhere_takes_nothing(self, settings: Settings) -> None:
        opened, before = image(two_lesions()), mask_with(OTHER) > 0
        clicks = Clicks([], background=[ON_LESION, ON_NOTHING])
        answer = fill_lesions(opened, clicks, settings, label="LAD", before=before)
        np.testing.assert_array_equal(answer.mask, mask_with(OTHER))


@pytest.mark.parametrize("kvp", [100.0, 80.0])
def test_the_threshold_follows_the_tube_voltage(settings: Settings, kvp: float) -> None:
    # 147 HU at 100 kV, 167 HU at 80 kV.
    hu = scene(SHAPE, LESION, hu=150)
    answer = fill_lesions(image(hu, kvp=kvp), Clicks([ON_LESION]), settings, label="LAD")
    assert answer.mask.any() == (kvp == 100.0)


class TestRoi:
    def test_keeps_what_lies_within_with_both_ends(self, settings: Settings) -> None:
        answer = filled(settings, Clicks([ON_LESION], roi=((21, 0, 0), (22, 39, 2))))
        np.testing.assert_array_equal(answer.mask, mask_with(np.s_[2:3, 10:12, 21:23]))

    def test_is_clipped_to_the_image(self, settings: Settings) -> None:
        answer = filled(settings, Clicks([ON_LESION], roi=((-100, -100, -100), (999, 999, 999))))
        np.testing.assert_array_equal(answer.mask, mask_with(LESION))

    def test_outside_the_image_is_refused(self, settings: Settings) -> None:
        with pytest.raises(InvalidInputError, match="outside"):
            filled(settings, Clicks([ON_LESION], roi=((60, 0, 0), (70, 39, 5))))


@pytest.mark.parametrize("orientation", range(len(ORIENTATIONS)))
def test_clicks_and_mask_have_the_order_of_the_file(settings: Settings, orientation: int) -> None:
    # Eleven voxels along each axis of the file, an L of calcium that no flip maps to itself.
    stored = np.full((11, 12, 13), 40, np.int16)
    stored[7, 2:4, 9] = stored[7, 2, 9:12] = stored[8, 2, 9] = 300
    grid = make_grid(stored.shape, spacing_mm=(1.0, 1.0, 1.0), directions=ORIENTATIONS[orientation])
    opened = axial_image(Volume(stored, grid, 120.0))
    clicks = Clicks([(9, 3, 7)], roi=((9, 2, 7), (10, 3, 8)))
    answer = fill_lesions(opened, clicks, settings, label="RCA")
    expected = (stored == 300).astype(np.uint8)
    expected[:, :, 11:] = 0
    np.testing.assert_array_equal(from_axial(answer.mask, opened.stored), expected)


class TestAssigning:
    """Lesions in the arteries that the network sees."""

    @pytest.fixture
    def predicted(self) -> NDArray[np.uint8]:
        labels = np.zeros(SHAPE, np.uint8)
        labels[1:5, 8:14, 18:28] = LABELS["LAD_region"]
        labels[1:4, 28:34, 38:42] = LABELS["RCA_region"]
        labels[OTHER] = LABELS["RCA"]
        return labels

    def assigned(
        self, settings: Settings, predicted: NDArray[np.uint8], only: str | None = None
    ) -> ClickAnswer:
        clicks = Clicks([ON_LESION, ON_OTHER])
        opened = image(two_lesions())
        return assign_lesions(opened, clicks, settings, predicted=predicted, only=only)

    def test_each_lesion_has_the_value_of_its_artery(
        self, settings: Settings, predicted: NDArray[np.uint8]
    ) -> None:
        answer = self.assigned(settings, predicted)
        expected = 2 * mask_with(LESION) + 4 * mask_with(OTHER)
        np.testing.assert_array_equal(answer.mask, expected)
        assert answer.label_names == CALCIUM_LABELS
        assert [row["artery"] for row in answer.table["lesions"]] == ["LAD", "RCA"]

    def test_figures_are_told_per_artery(
        self, settings: Settings, predicted: NDArray[np.uint8]
    ) -> None:
        arteries = self.assigned(settings, predicted).table["calcium"]["arteries"]
        # 8 voxels of 0.25 mm2 a slice at weight 3: two slices in the LAD, one in the RCA.
        assert arteries["LAD"]["agatston"] == pytest.approx(12.0)
        assert arteries["RCA"]["agatston"] == pytest.approx(6.0)
        assert arteries["LM"]["agatston"] == 0

    def test_a_lesion_without_an_artery_near_is_left_out(
        self, settings: Settings, predicted: NDArray[np.uint8]
    ) -> None:
        predicted[OTHER] = 0
        predicted[predicted == LABELS["RCA_region"]] = 0
        answer = self.assigned(settings, predicted)
        np.testing.assert_array_equal(answer.mask, 2 * mask_with(LESION))
        assert "no artery within 5 mm" in answer.table["message"]

    def test_a_tool_of_one_segment_gets_the_lesions_of_its_artery(
        self, settings: Settings, predicted: NDArray[np.uint8]
    ) -> None:
        answer = self.assigned(settings, predicted, only="RCA")
        np.testing.assert_array_equal(answer.mask, mask_with(OTHER))
        assert answer.label_names == {"RCA": 1}
        assert "sees LAD here, not RCA" in answer.table["message"]
