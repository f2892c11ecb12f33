"""The calcium table of a prediction."""

import pytest

from app.calcium.table import calcium_table


def test_distribution_is_of_the_totals_and_of_each_artery() -> None:
    # Totals 0, 10, 20, 30 and 400 of five samples.
    samples: list[list[float]] = [
        [0, 0, 0, 0],
        [0, 10, 0, 0],
        [0, 20, 0, 0],
        [0, 20, 10, 0],
        [0, 0, 0, 400],
    ]
    distribution = calcium_table({}, samples)["distribution"]
    assert distribution["samples"] == 5
    assert distribution["median"] == 20
    # Linear interpolation between the two lowest and the two highest: 0.2 * 10, 30 + 0.8 * 370.
    assert distribution["p5"] == pytest.approx(2)
    assert distribution["p95"] == pytest.approx(326)
    assert distribution["arteries"]["LAD"]["median"] == 10
    assert distribution["arteries"]["RCA"]["median"] == 0


def test_category_probabilities_are_shares_of_the_samples() -> None:
    samples: list[list[float]] = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 50, 0, 0], [500, 0, 0, 0]]
    distribution = calcium_table({}, samples)["distribution"]
    assert distribution["category_probabilities"] == {
        "0": 0.5,
        "1-10": 0.0,
        "11-100": 0.25,
        "101-400": 0.0,
        ">400": 0.25,
    }


def test_scores_are_kept_and_not_changed() -> None:
    scores = {"total": {"agatston": 12.0}, "risk_category": "11-100"}
    table = calcium_table(scores, [[0.0, 12.0, 0.0, 0.0]])
    assert {key: table[key] for key in scores} == scores
    assert "distribution" not in scores


def test_without_samples_there_is_no_distribution() -> None:
    assert calcium_table({"total": {}}, []) == {"total": {}}


@pytest.mark.parametrize(
    ("lesion", "region", "label"), [(0.7, 0.2, "calcium"), (0.1, 0.6, "regions")]
)
def test_the_larger_share_says_which_label_helps(lesion: float, region: float, label: str) -> None:
    table = calcium_table({}, [[1.0] * 4, [2.0] * 4], lesion_share=lesion, region_share=region)
    shares = {"lesion_share": lesion, "region_share": region}
    assert table["doubt"] == {**shares, "label_that_helps": label}


def test_samples_that_agree_leave_no_doubt() -> None:
    table = calcium_table({}, [[1.0] * 4, [1.0] * 4], lesion_share=0.0, region_share=0.0)
    assert "doubt" not in table


def test_what_too_few_samples_cannot_tell_is_unknown() -> None:
    table = calcium_table({}, [[1.0] * 4, [2.0] * 4], lesion_share=None, region_share=None)
    unknown = dict.fromkeys(("lesion_share", "region_share", "label_that_helps"))
    assert table["doubt"] == unknown
