import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from app.calcium.labels import ARTERIES
from app.calcium.rules import rule_names
from app.calcium.samples import agatston_samples
from app.calcium.score import calcium_scores
from app.errors import InvalidInputError
from tests.app.calcium.blocks import SPACING_MM, Block, volume_of
from tests.app.calcium.random_volumes import LabeledVolume, labeled_volumes


@st.composite
def sampled_volumes(draw: st.DrawFn) -> tuple[LabeledVolume, NDArray[np.uint8]]:
    """Draw a volume and up to four label maps of its voxels, shape (T, Z, Y, X)."""
    volume = draw(labeled_volumes())
    shape = draw(st.integers(0, 4)), *volume.hu.shape
    return volume, draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)))


@pytest.mark.parametrize("rule", rule_names())
@settings(max_examples=40)
@given(sampled=sampled_volumes(), seed=st.integers(0, 99))
def test_each_sample_scores_as_it_would_alone(
    rule: str, sampled: tuple[LabeledVolume, NDArray[np.uint8]], seed: int
) -> None:
    volume, label_maps = sampled
    candidates = np.random.default_rng(seed).permutation(np.flatnonzero(volume.hu >= 130))
    found = agatston_samples(
        volume.hu,
        candidates,
        label_maps.reshape(len(label_maps), volume.hu.size)[:, candidates],
        spacing_mm=volume.spacing_mm,
        threshold_hu=130,
        rule=rule,
    )
    assert found.shape == (len(label_maps), len(ARTERIES))
    for scores, labels in zip(found, label_maps, strict=True):
        alone = calcium_scores(volume.hu, labels, spacing_mm=volume.spacing_mm, kvp=120, rule=rule)
        assert scores.tolist() == [alone.arteries[name].agatston for name in ARTERIES]


def test_equal_voxels_of_two_samples_are_not_joined() -> None:
    hu, labels = volume_of(Block(2, (0, 2), (0, 2), 250), Block(0, (0, 2), (0, 2), 450))
    candidates = np.flatnonzero(labels)
    # The first sample has the last slice, the second the first slice: 1 mm2 x 2 and 1 mm2 x 4.
    in_last_slice = candidates >= 2 * 16 * 16
    artery_samples = np.stack([in_last_slice * 2, ~in_last_slice * 4]).astype(np.uint8)
    found = agatston_samples(
        hu, candidates, artery_samples, spacing_mm=SPACING_MM, threshold_hu=130, rule="qurai"
    )
    np.testing.assert_array_equal(found, [[0, 2, 0, 0], [0, 0, 0, 4]])


def test_candidates_below_the_threshold_do_not_count() -> None:
    hu, labels = volume_of(Block(1, (0, 2), (0, 4), 140))
    candidates = np.flatnonzero(labels)
    artery_samples = np.full((1, candidates.size), 1, np.uint8)
    for threshold_hu, expected in ((140, 2.0), (141, 0.0)):
        found = agatston_samples(
            hu, candidates, artery_samples, spacing_mm=SPACING_MM, threshold_hu=threshold_hu
        )
        assert found.tolist() == [[expected, 0, 0, 0]]


def test_no_candidates_score_zero() -> None:
    found = agatston_samples(
        np.zeros((3, 4, 5), np.int16),
        np.empty(0, np.int64),
        np.empty((7, 0), np.uint8),
        spacing_mm=SPACING_MM,
        threshold_hu=130,
    )
    np.testing.assert_array_equal(found, np.zeros((7, 4)))


@pytest.mark.parametrize(
    ("artery_samples", "message"),
    [(np.zeros((2, 3), np.uint8), r"shape \(T, 2\)"), (np.full((1, 2), 5, np.uint8), "got 5")],
)
def test_samples_that_make_no_sense_are_refused(
    artery_samples: NDArray[np.uint8], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        agatston_samples(
            np.zeros((1, 2, 2), np.int16),
            np.array([0, 1]),
            artery_samples,
            spacing_mm=SPACING_MM,
            threshold_hu=130,
        )


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no scoring rule"):
        agatston_samples(
            np.zeros((1, 1, 1), np.int16),
            np.array([0]),
            np.zeros((1, 1), np.uint8),
            spacing_mm=SPACING_MM,
            threshold_hu=130,
            rule="best",
        )
