from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.labelmap import LabelMap, Segment
from app.intake.label_names import (
    Coverage,
    ListedSegment,
    canonical_name,
    coverage,
    listed_segments,
    numbering,
    renumber,
)
from tests.factories import make_grid


def label(values: list[int], segments: tuple[Segment, ...] = ()) -> LabelMap:
    array = np.array(values, np.uint8).reshape(1, 1, -1)
    return LabelMap(array, make_grid((1, 1, len(values))), segments)


def layers(*rows: list[int], segments: tuple[Segment, ...]) -> LabelMap:
    array = np.array(rows, np.uint8).reshape(len(rows), 1, 1, -1)
    return LabelMap(array, make_grid((1, 1, len(rows[0]))), segments)


def renumbered(label_map: LabelMap, listed: list[ListedSegment] | None = None) -> list[int]:
    mask: NDArray[np.uint8] = renumber(label_map, numbering(label_map, listed or []))
    return mask.ravel().tolist()


def named(*names: str, first: int = 1) -> list[ListedSegment]:
    return [ListedSegment(name, number) for number, name in enumerate(names, start=first)]


class TestCanonicalName:
    @pytest.mark.parametrize("name", LABELS)
    def test_knows_the_canonical_names_in_any_case(self, name: str) -> None:
        for written in (name, name.lower(), name.upper(), name.replace("_", " ")):
            assert canonical_name(written) == name

    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("LAD calcium", "LAD"),
            ("Left Anterior Descending Artery", "LAD"),
            ("calcification of the left main", "LM"),
            ("LMCA", "LM"),
            ("Left main coronary artery", "LM"),
            ("Cx", "LCX"),
            ("left circumflex plaque", "LCX"),
            ("Right Coronary Artery", "RCA"),
            ("RCA-region", "RCA_region"),
            ("region of the Left Circumflex", "LCX_region"),
            ("LM territory", "LM_region"),
        ],
    )
    def test_knows_what_people_write(self, written: str, name: str) -> None:
        assert canonical_name(written) == name

    @pytest.mark.parametrize("name", ["background", "Foreground_Scribbles", "background scribbles"])
    def test_knows_what_is_no_label(self, name: str) -> None:
        assert canonical_name(name) is None

    @pytest.mark.parametrize(
        "name",
        ["", "spleen", "Segment_1", "left", "LAD RCA", "calcium", "LAD calcium region", "D1"],
    )
    def test_refuses_the_rest_and_names_the_known(self, name: str) -> None:
        with pytest.raises(LabelError, match="LM, LAD, LCX, RCA, LM_region"):
            canonical_name(name)


class TestListedSegments:
    def test_reads_objects_and_plain_names(self) -> None:
        assert listed_segments([{"name": "LM", "idx": 1}, "LAD"]) == [
            ListedSegment("LM", 1),
            ListedSegment("LAD"),
        ]
        assert listed_segments(None) == []

    @pytest.mark.parametrize(
        ("written", "number"),
        [
            *((2, 2), (2.0, 2), ("2", 2), (" 2.0", 2)),
            *((wrong, None) for wrong in (2.5, "a", True, None, [2], float("inf"), 10**400)),
        ],
    )
    def test_reads_numbers_as_clients_write_them(self, written: object, number: int | None) -> None:
        assert listed_segments([{"name": "LM", "idx": written}]) == [ListedSegment("LM", number)]

    @pytest.mark.parametrize("wrong", [{}, "LM", [1], [{"idx": 1}], [{"name": 3}], [None]])
    def test_refuses_anything_else(self, wrong: object) -> None:
        with pytest.raises(LabelError, match="label_info"):
            listed_segments(wrong)


class TestNumbering:
    def test_values_are_canonical_without_names(self) -> None:
        assert renumbered(label([0, 1, 4, 8])) == [0, 1, 4, 8]

    def test_values_follow_the_order_of_the_list(self) -> None:
        # 1 is the first listed, RCA, which is canonically 4; 2 is LM, canonically 1.
        assert renumbered(label([0, 1, 2]), named("RCA", "LM")) == [0, 4, 1]

    def test_idx_is_not_trusted(self) -> None:
        # 3D Slicer with a background segment that it does not list: idx is one too high.
        assert renumbered(label([0, 1, 2]), named("LM", "RCA", first=2)) == [0, 1, 4]

    def test_background_in_the_list_does_not_count(self) -> None:
        listed = named("background", "LAD", "LCX", "RCA")
        # Values 1, 2, 3 are LAD, LCX, RCA, though their idx 2, 3, 4 are canonical, too.
        assert renumbered(label([0, 1, 2, 3]), listed) == [0, 2, 3, 4]
        assert renumbered(label([0, 2, 3]), listed) == [0, 3, 4]

    def test_scribbles_in_the_list_do_not_count(self) -> None:
        listed = named("foreground_scribbles", "LAD", "background_scribbles", "LM")
        assert renumbered(label([1, 2]), listed) == [2, 1]

    def test_names_without_voxels_keep_their_place(self) -> None:
        assert renumbered(label([0, 3]), named("LM", "LAD", "LCX")) == [0, 3]

    def test_canonical_values_that_leave_the_order_are_taken_for_canonical(self) -> None:
        listed = [ListedSegment("LAD", 2), ListedSegment("RCA", 4)]
        assert renumbered(label([0, 2, 4]), listed) == [0, 2, 4]

    def test_values_that_can_mean_two_things_are_refused(self) -> None:
        # By order 2 is RCA, by its canonical idx it is LAD.
        listed = [ListedSegment("LAD", 2), ListedSegment("RCA", 4)]
        with pytest.raises(LabelError, match="two things"):
            renumbered(label([0, 2]), listed)

    @pytest.mark.parametrize("idx", [(2, 3), (2.0, 3.0), ("2", "3")])
    def test_consecutive_idx_that_fit_as_well_as_the_order_are_refused(self, idx: Any) -> None:
        # By order 2 is RCA, by idx it is LCX; neither is canonical.
        entries = [{"name": n, "idx": i} for n, i in zip(("LCX", "RCA"), idx, strict=True)]
        with pytest.raises(LabelError, match="two things"):
            renumbered(label([0, 2]), listed_segments(entries))

    def test_idx_count_where_the_order_cannot_be_meant(self) -> None:
        listed = [ListedSegment("RCA", 5), ListedSegment("LM", 7)]
        assert renumbered(label([0, 5, 7]), listed) == [0, 4, 1]

    def test_idx_that_contradict_themselves_do_not_count(self) -> None:
        listed = [ListedSegment("RCA", 2), ListedSegment("LM", 2)]
        assert renumbered(label([0, 2]), listed) == [0, 1]

    @pytest.mark.parametrize("value", [9, 255])
    def test_values_without_a_name_are_refused(self, value: int) -> None:
        with pytest.raises(LabelError, match=f"canonical label values 1 to 8, got {value}"):
            renumbered(label([0, 1, value]))
        with pytest.raises(LabelError, match=f"out of 1, 2, one for each .* got {value}"):
            renumbered(label([0, 1, value]), named("LM", "LAD"))

    def test_names_in_the_file_win_over_the_list(self) -> None:
        segments = (Segment("RCA", 1), Segment("LAD calcium", 7))
        listed = named("LM", "LAD")
        assert renumbered(label([0, 1, 7], segments), listed) == [0, 4, 2]

    def test_voxels_of_no_named_segment_of_the_file_are_refused(self) -> None:
        with pytest.raises(LabelError, match="got 2"):
            renumbered(label([0, 1, 2], (Segment("LM", 1),)))

    def test_scribbles_of_the_file_are_left_out(self) -> None:
        segments = (Segment("background", 1), Segment("LM", 2))
        assert renumbered(label([0, 1, 2], segments)) == [0, 0, 1]

    @given(st.permutations(list(LABELS)), st.lists(st.integers(0, 8), min_size=1))
    def test_any_order_of_segments_gives_the_same_labels(
        self, order: list[str], values: list[int]
    ) -> None:
        # The same drawing exported with its segments in any order.
        place = {LABELS[name]: index for index, name in enumerate(order, start=1)}
        drawn = label([place.get(value, 0) for value in values])
        assert renumbered(drawn, [ListedSegment(name) for name in order]) == values


class TestLayers:
    segments = (Segment("LAD", 1, 0), Segment("LAD_region", 1, 1), Segment("LCX_region", 2, 1))

    def test_calcium_wins_over_region(self) -> None:
        overlapping = layers([1, 1, 0, 0], [1, 2, 1, 2], segments=self.segments)
        assert renumbered(overlapping) == [2, 2, 6, 7]

    def test_the_first_of_two_regions_wins(self) -> None:
        segments = (Segment("RCA_region", 1, 0), Segment("LM_region", 1, 1))
        assert renumbered(layers([1, 0], [1, 1], segments=segments)) == [5, 5]

    def test_calcium_of_two_arteries_is_refused(self) -> None:
        segments = (Segment("LAD", 1, 0), Segment("LM", 1, 1))
        with pytest.raises(LabelError, match="2 voxels are calcium of two arteries"):
            renumbered(layers([1, 1, 1], [1, 1, 0], segments=segments))

    def test_one_value_means_another_name_in_another_layer(self) -> None:
        segments = (Segment("LAD", 1, 0), Segment("RCA", 1, 1))
        assert renumbered(layers([1, 0, 0], [0, 0, 1], segments=segments)) == [2, 0, 4]


class TestCoverage:
    @pytest.mark.parametrize(
        ("values", "offered", "calcium", "regions"),
        [
            # A client that names calcium speaks about it, also when it has drawn none.
            ([0, 0], ["LM", "LAD", "LCX", "RCA"], True, False),
            ([0, 2], ["LAD"], True, False),
            # All names are listed by 3D Slicer; regions without a voxel were left out.
            ([0, 2], list(LABELS), True, False),
            ([0, 2, 6], list(LABELS), True, False),
            ([5, 6, 7], list(LABELS), True, False),
            ([5, 6, 7, 8], list(LABELS), True, True),
            # Calcium lies in the region of its artery, but does not tell the rest of it.
            ([5, 2, 7, 8], list(LABELS), True, False),
            ([1, 2, 3, 4], list(LABELS), True, False),
            # Regions alone say nothing about calcium.
            ([0, 6], ["LAD_region"], False, False),
            ([5, 6, 7, 8], ["LAD_region"], False, True),
            ([0, 0], ["LAD_region"], False, False),
            # Nothing named: what is drawn decides, and nothing drawn is no calcium.
            ([0, 2], None, True, False),
            ([0, 6], None, False, False),
            ([5, 6, 7, 8], None, False, True),
            ([2, 5, 6, 7, 8], None, True, True),
            ([0, 2, 6], None, True, False),
            ([0, 0], None, True, False),
        ],
    )
    def test_follows_what_was_named_and_drawn(
        self, values: list[int], offered: list[str] | None, calcium: bool, regions: bool
    ) -> None:
        mask = np.array(values, np.uint8)
        assert coverage(mask, offered) == Coverage(calcium, regions)
