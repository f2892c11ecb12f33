"""Every reader of strangers' files: what it gives is sound, and all that it raises is meant."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from app.imaging.dicom.json_model import identify
from app.imaging.reader import read_volume
from app.imaging.scan import find_images
from app.imaging.volume import Volume
from app.imaging.volume_file import read_volume_file
from app.intake.label_check import check_label
from tests.factories import make_grid
from tests.fuzz import samples
from tests.fuzz.budget import fuzz
from tests.fuzz.mutations import damaged
from tests.fuzz.refusals import nothing_but_refusals

_SHARE = 0.02
"""Part of the time that each kind of file gets; there are some twenty."""

_HEADS = {"x.nii": 352, "x.nrrd": 400, "x.mha": 400}
"""About where the voxels begin."""


def check(volume: Volume) -> None:
    """Check what every later step relies on."""
    assert volume.hu.shape == volume.grid.shape
    assert volume.hu.dtype == np.int16
    assert np.isfinite(volume.grid.affine).all()
    assert abs(np.linalg.det(volume.grid.affine[:3, :3])) > 0
    assert volume.kvp is None or 40 <= volume.kvp <= 200


@pytest.mark.parametrize("name", _HEADS)
def test_volume_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            check(read_volume_file(path))

    fuzz(read, damaged(samples.volume_file(name), _HEADS[name]), _SHARE)


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha"])
def test_packed_volume_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / name

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            check(read_volume_file(path))

    fuzz(read, damaged(samples.packed_file(name), _HEADS[name]), _SHARE)


@pytest.mark.parametrize("is_damaged_inside", [False, True])
def test_gzipped_nifti(is_damaged_inside: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    plain = samples.volume_file("x.nii")
    inside = damaged(plain, _HEADS["x.nii"]).map(lambda content: gzip.compress(content, 1))
    outside = damaged(gzip.compress(plain, 1), 20)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with nothing_but_refusals():
            check(read_volume_file(path))

    fuzz(read, inside if is_damaged_inside else outside, _SHARE)


@pytest.mark.parametrize("coding", ["plain", "deflated", "RLE", "JPEG", "JPEG2000"])
def test_slices(coding: str, tmp_path: Path) -> None:
    first, second = samples.series(coding)
    (tmp_path / "1.dcm").write_bytes(first)

    def read(content: bytes) -> None:
        (tmp_path / "2.dcm").write_bytes(content)
        with nothing_but_refusals():
            for finding in find_images(tmp_path):
                assert "\n" not in (finding.problem or "")
            check(read_volume(tmp_path))
        with nothing_but_refusals():
            identify(content)

    fuzz(read, damaged(second, 1200), _SHARE)


LABELS: dict[str, Callable[[], bytes]] = {
    "x.seg.nrrd": lambda: samples.label_file("x.nrrd"),
    "x.nii.gz": lambda: samples.label_file("x.nii.gz"),
    "x.nii": lambda: samples.label_file("x.nii"),
    "x.dcm": samples.segmentation,
    "x.bin": lambda: bytes(210),
}

_JSON: SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["LAD", "RCA", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "idx", "id", "LAD", "label"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str) -> None:
    sound, grid = LABELS[name](), make_grid()
    params = st.dictionaries(st.sampled_from(["label_info", "label_names"]), _JSON, max_size=2)

    def read(given: tuple[bytes, dict[str, object]]) -> None:
        content, said = given
        with nothing_but_refusals():
            label = check_label(content, file_name=name, params=said, grid=grid)
            assert label.submitted == content
            assert set(label.names) <= {each["name"] for each in label.info["label_info"]}

    fuzz(read, st.tuples(st.just(sound) | damaged(sound, 400), params), _SHARE)
