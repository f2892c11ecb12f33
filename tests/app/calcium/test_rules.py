import pytest

from app.calcium.rules import DEFAULT_RULE, MinimumSize, get_rule, rule_names
from app.errors import InvalidInputError

SPACING_MM = (3.0, 0.5, 0.5)


def test_the_default_rule_comes_first() -> None:
    assert rule_names()[0] == DEFAULT_RULE == "agatston"


@pytest.mark.parametrize("name", rule_names())
class TestEveryRule:
    def test_is_found_by_its_name(self, name: str) -> None:
        assert get_rule(name).name == name

    def test_names_its_source(self, name: str) -> None:
        assert "https://" in get_rule(name).source

    def test_never_splits_a_planar_group_over_lesions(self, name: str) -> None:
        rule = get_rule(name)
        assert (
            rule.planar_connectivity == 4
            or rule.spatial_connectivity == 26
            or (rule.grouping == "lesion")
        )


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"no scoring rule 'best'; known: agatston, "):
        get_rule("best")


@pytest.mark.parametrize(
    ("minimum", "too_small", "enough"),
    [
        # A pixel is 0.25 mm2 and a voxel 0.75 mm3.
        (MinimumSize(1.0, "mm2"), 3, 4),
        (MinimumSize(1.0, "mm2", is_included=False), 4, 5),
        (MinimumSize(1.5, "mm3"), 1, 2),
        (MinimumSize(3, "voxels", is_included=False), 3, 4),
        (MinimumSize(), 0, 1),
    ],
)
def test_a_group_counts_from_the_minimum_size_on(
    minimum: MinimumSize, too_small: int, enough: int
) -> None:
    smallest = minimum.smallest_voxel_count(spacing_mm=SPACING_MM)
    assert too_small < smallest or too_small == 0
    assert enough >= smallest


def test_a_size_in_whole_voxels_is_rounded() -> None:
    # 1 mm2 is 4.53 pixels of 0.47 mm: rounded to 5, so that 4 pixels are too few.
    minimum = MinimumSize(1.0, "mm2", is_whole_voxels=True)
    smallest = minimum.smallest_voxel_count(spacing_mm=(3.0, 0.47, 0.47))
    assert 4 < smallest <= 5


def test_rounding_errors_of_the_spacing_do_not_lose_a_lesion() -> None:
    # Four pixels of 0.49999999 mm are 0.99999996 mm2.
    smallest = get_rule("agatston").minimum.smallest_voxel_count(
        spacing_mm=(3.0, 0.49999999, 0.49999999)
    )
    assert smallest <= 4


def test_the_score_of_a_voxel_follows_area_and_increment() -> None:
    # 0.25 mm2 x 1.5 mm / 3 mm
    assert get_rule("agatston").unit_score(spacing_mm=(1.5, 0.5, 0.5)) == 0.125
    assert get_rule("slicer-gist").unit_score(spacing_mm=(1.5, 0.5, 0.5)) == 0.25
    # 0.38 mm x 0.38 mm x 3 mm / 3 mm = 0.1444, rounded to three decimals
    assert get_rule("deepcac").unit_score(spacing_mm=(3.0, 0.38, 0.38)) == 0.144
