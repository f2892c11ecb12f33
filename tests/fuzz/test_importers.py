"""The importers of labels and scores: a damaged file is refused in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app.errors import InvalidInputError
from app.exchange import coca_contours, monailabel, orcascore
from app.exchange.coca_scores import read_reference_scores
from app.intake.client_info import check_info, with_readable_review
from tests.app.exchange.coca_files import Drawn, box, make_scan, write_contours, write_scores
from tests.factories import make_grid, make_labels, make_volume, write_itk, write_nifti
from tests.fuzz.budget import fuzz
from tests.fuzz.mutations import damaged
from tests.fuzz.refusals import nothing_but_refusals

_SHARE = 0.03
"""Part of the time that each importer gets."""


def test_contours(tmp_path: Path) -> None:
    volume, path = make_scan(), tmp_path / "7.xml"
    write_contours(path, [Drawn("LAD", 2, box(3, 4, 5, 6)), Drawn("RCA", 3)])

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            contours = coca_contours.read_contours(path)
            mask = coca_contours.contour_mask(contours, volume)
            assert mask.shape == volume.hu.shape

    fuzz(read, damaged(path.read_bytes(), 300), _SHARE)


def test_tables_of_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.xlsx"
    write_scores(path, [["1A", 1, 2, 3, 4, 10]])

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            for scores in read_reference_scores(path).values():
                assert scores is None or all(v >= 0 for v in scores["agatston"].values())

    fuzz(read, damaged(path.read_bytes(), 100), _SHARE)


@pytest.mark.parametrize("ending", ["mhd", "raw"])
def test_coded_labels(ending: str, tmp_path: Path) -> None:
    grid = make_grid()
    codes = make_labels(values=3).astype(np.int16)
    label = write_itk(tmp_path / "P1R.mhd", codes, grid)
    path = tmp_path / f"P1R.{ending}"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            assert set(np.unique(orcascore.canonical_mask(label, grid))) <= {0, 2, 3, 4}

    fuzz(read, damaged(path.read_bytes(), 300), _SHARE)


_KEYS = ("objects", "case", "image", "labels", "info", "final", "client_id", "segmentationMeta")

_INDEX: SearchStrategy[object] = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.just("case"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_an_index_of_another_server(tmp_path: Path) -> None:
    write_nifti(tmp_path / "case.nii.gz", make_volume().hu, make_grid())
    labels = tmp_path / "labels" / "final"
    labels.mkdir(parents=True)
    write_nifti(labels / "case.nii.gz", make_labels(), make_grid())
    index = tmp_path / "datastore_v2.json"
    sound = {"objects": {"case": {"image": {"info": {}}, "labels": {"final": {"info": {}}}}}}

    def read(content: bytes) -> None:
        index.write_bytes(content)
        with nothing_but_refusals():
            (case,) = monailabel.find_cases(tmp_path)
            assert isinstance(case, monailabel.MonailabelCase)
            for found in case.labels:
                check_info(with_readable_review(found.info, found.tag), InvalidInputError)

    whole = damaged(json.dumps(sound).encode(), 50)
    fuzz(read, whole | _INDEX.map(lambda value: json.dumps({"objects": value}).encode()), _SHARE)
