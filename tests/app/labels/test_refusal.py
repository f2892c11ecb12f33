import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import InvalidInputError, LabelError, NotFoundError
from tests.app.conftest import Deployment
from tests.app.labels.versions import all_rows, stored_files, submit
from tests.app.submitting import ALL_NAMES
from tests.factories import SHAPE, make_grid, make_labels, write_itk, write_nifti


def _nan(folder: Path) -> Path:
    values = make_labels().astype(np.float32)
    values[0, 0, 0] = np.nan
    return write_nifti(folder / "l.nii.gz", values, make_grid())


def _fraction(folder: Path) -> Path:
    return write_nifti(folder / "l.nii.gz", make_labels() + np.float32(0.5), make_grid())


def _negative(folder: Path) -> Path:
    return write_nifti(folder / "l.nii.gz", -make_labels().astype(np.int16), make_grid())


def _unknown_value(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", np.full(SHAPE, 9, np.uint8), make_grid())


def _wrong_shape(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", np.ones((9, 9, 9), np.uint8), make_grid((9, 9, 9)))


def _wrong_spacing(folder: Path) -> Path:
    return write_itk(folder / "l.nrrd", make_labels(), make_grid(spacing_mm=(3.0, 0.5, 0.7)))


def _half_a_voxel_off(folder: Path) -> Path:
    grid = make_grid(origin_mm=(-60.5 + 0.375, -110.25, 42.0))
    return write_itk(folder / "l.nrrd", make_labels(), grid)


def _truncated(folder: Path) -> Path:
    path = write_itk(folder / "l.nrrd", make_labels(), make_grid())
    path.write_bytes(path.read_bytes()[:-10])
    return path


def _truncated_gzip(folder: Path) -> Path:
    path = write_nifti(folder / "l.nii.gz", make_labels(), make_grid())
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _empty(folder: Path) -> Path:
    (folder / "l.nrrd").write_bytes(b"")
    return folder / "l.nrrd"


def _garbage(folder: Path) -> Path:
    (folder / "l.nii.gz").write_bytes(gzip.compress(b"not a NIfTI file" * 100))
    return folder / "l.nii.gz"


def _program(folder: Path) -> Path:
    (folder / "x.exe").write_bytes(b"MZ")
    return folder / "x.exe"


def _short_dump(folder: Path) -> Path:
    (folder / "label.bin").write_bytes(make_labels().tobytes()[:-1])
    return folder / "label.bin"


def _foreign_file(folder: Path) -> Path:
    header = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 7 6 5\nencoding: raw\n"
    (folder / "l.nrrd").write_text(f"{header}data file: /etc/passwd\n\n")
    return folder / "l.nrrd"


class TestRefusal:
    @pytest.mark.parametrize(
        "make",
        [
            _nan,
            _fraction,
            _negative,
            _unknown_value,
            _wrong_shape,
            _wrong_spacing,
            _half_a_voxel_off,
            _truncated,
            _truncated_gzip,
            _empty,
            _garbage,
            _program,
            _short_dump,
            _foreign_file,
        ],
    )
    def test_bad_labels_leave_nothing_behind(
        self, deployment: Deployment, tmp_path: Path, make: Any
    ) -> None:
        path = make(tmp_path)
        with pytest.raises(LabelError) as caught:
            submit(deployment, path, params={})
        sentence = str(caught.value)
        assert len(sentence) > 10
        assert not sentence.endswith(".")
        assert "/" not in sentence
        assert all_rows(deployment) == []
        assert stored_files(deployment) == []

    @pytest.mark.parametrize(
        "params",
        [
            {"label_info": [{"name": "spleen", "idx": 1}]},
            {"label_info": "LM"},
            {"label_names": {"LM": "one"}},
            {"label_names": {"LM": 1, "LAD": 1}},
            {"label_names": {"LM": 1, "LAD": 2}},
            {**ALL_NAMES, "score": float("nan")},
            {**ALL_NAMES, "comment": "x" * 1_000_001},
        ],
    )
    def test_bad_params_leave_nothing_behind(
        self, deployment: Deployment, label_path: Path, params: Mapping[str, object]
    ) -> None:
        with pytest.raises(LabelError):
            submit(deployment, label_path, params=params)
        assert all_rows(deployment) == []
        assert stored_files(deployment) == []

    def test_unknown_images_are_not_found(self, deployment: Deployment, label_path: Path) -> None:
        with pytest.raises(NotFoundError, match="no image 'nobody'"):
            submit(deployment, label_path, image_id="nobody")

    @pytest.mark.parametrize("tag", ["../../x", "/abs", "", "a/b", "x" * 129])
    def test_tags_stay_inside(self, deployment: Deployment, label_path: Path, tag: str) -> None:
        with pytest.raises(InvalidInputError, match="tag"):
            submit(deployment, label_path, tag=tag)
        assert stored_files(deployment) == []
