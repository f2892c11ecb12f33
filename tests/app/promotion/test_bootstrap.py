import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from app.promotion.bootstrap import (
    f1_of_resamples,
    lower_bound,
    paired_lower_bound,
    resample_counts,
)


def test_f1_adds_the_volumes_of_the_drawn_patients() -> None:
    volumes = np.array([[10.0, 0.0, 0.0], [5.0, 5.0, 10.0]])
    counts = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    # 2*15/(30+5+10); only the perfect patient; 2*10/(20+10+20).
    np.testing.assert_allclose(f1_of_resamples(counts, volumes), [30 / 45, 1.0, 0.4])


def test_no_calcium_and_none_seen_is_perfect() -> None:
    assert f1_of_resamples(np.array([[3.0]]), np.zeros((1, 3))).tolist() == [1.0]


def test_lower_bound_is_the_percentile() -> None:
    differences = np.arange(101) / 100
    assert lower_bound(differences, 0.95) == pytest.approx(0.05)
    assert lower_bound(differences, 0.9) == pytest.approx(0.1)


@given(st.integers(1, 12), st.integers(1, 50))
def test_every_resample_has_as_many_patients(patients: int, resamples: int) -> None:
    counts = resample_counts(patients, resamples, np.random.default_rng(3))
    assert counts.shape == (resamples, patients)
    assert (counts.sum(axis=1) == patients).all()


def test_patients_are_drawn_evenly() -> None:
    counts = resample_counts(4, 20_000, np.random.default_rng(5))
    # Mean 1, standard deviation of the mean sqrt(0.75 / 20000) = 0.006.
    np.testing.assert_allclose(counts.mean(axis=0), 1.0, atol=0.03)
    # A draw with replacement: binomial variance 4 * 1/4 * 3/4.
    np.testing.assert_allclose(counts.var(axis=0), 0.75, atol=0.05)


def test_nobody_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one patient"):
        resample_counts(0, 10, np.random.default_rng(0))


def hard_and_easy(rng: np.random.Generator, patients: int = 15) -> NDArray[np.float64]:
    volumes: NDArray[np.float64] = rng.gamma(2.0, 20.0, (patients, 3)) * np.array([1.0, 0.2, 0.2])
    return volumes


def test_two_equal_versions_differ_by_nothing() -> None:
    volumes = hard_and_easy(np.random.default_rng(1))
    rng = np.random.default_rng(2)
    # Unpaired resamples would give a bound well below 0.
    assert paired_lower_bound(volumes, volumes, confidence=0.95, rng=rng) == 0.0


def test_bound_agrees_with_scipy() -> None:
    rng = np.random.default_rng(7)
    champion = hard_and_easy(rng)
    challenger = champion * [1.0, 1.5, 0.7]

    def f1(volumes: NDArray[np.float64]) -> NDArray[np.float64]:
        shared, invented, missed = np.moveaxis(volumes.sum(axis=-2), -1, 0)
        return np.asarray(2 * shared / (2 * shared + invented + missed))

    def difference(index: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        assert axis == -1
        return f1(challenger[index]) - f1(champion[index])

    theirs = stats.bootstrap(
        (np.arange(len(champion)),),
        difference,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(8),
    ).confidence_interval.low
    ours = paired_lower_bound(champion, challenger, confidence=0.95, rng=np.random.default_rng(9))
    assert ours == pytest.approx(theirs, abs=0.003)


def test_other_patients_on_one_side_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        paired_lower_bound(
            np.ones((2, 3)), np.ones((3, 3)), confidence=0.95, rng=np.random.default_rng(0)
        )
