"""Laws over any volume and any damage."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from app.errors import ImagingError, LabelError
from app.imaging.dicom.writer import write_series
from app.imaging.geometry import same_grid
from app.imaging.labelmap import read_label_map
from app.imaging.orientation import to_axial
from app.imaging.reader import read_volume
from app.imaging.scan import find_images, read_finding
from app.imaging.volume import Identifiers, Volume
from app.imaging.volume_hash import content_hash
from app.imaging.volume_writer import write_volume
from tests.factories import (
    AXIAL_ORIENTATIONS,
    make_grid,
    make_labels,
    make_volume,
    write_dicom,
    write_itk,
)

coordinates = st.floats(-2000, 2000).map(lambda value: round(value, 3))
spacings = st.floats(0.11, 9.9).map(lambda value: round(value, 4))


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    grid = make_grid(
        draw(st.tuples(st.integers(2, 5), st.integers(1, 4), st.integers(1, 4))),
        spacing_mm=draw(st.tuples(spacings, spacings, spacings)),
        origin_mm=draw(st.tuples(coordinates, coordinates, coordinates)),
        directions=draw(st.sampled_from(AXIAL_ORIENTATIONS)),
    )
    hu = draw(arrays.arrays(np.int16, grid.shape, elements=st.integers(-2048, 8000)))
    # Two fixed voxels keep the span above that of an empty image.
    hu.flat[0], hu.flat[-1] = -1000, 500
    kvp = draw(st.none() | st.sampled_from([70.0, 80.0, 100.0, 120.0, 140.0]))
    return Volume(hu, grid, kvp, Identifiers(patient_id="p"))


@given(volumes(), st.sampled_from(["x.nii", "x.nii.gz", "x.nrrd"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_dicom_to_file_and_back_keeps_everything(
    volume: Volume, name: str, descending: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder, "dicom"), volume, descending=descending)
        from_dicom = read_volume(Path(folder, "dicom"))
        write_volume(Path(folder, name), from_dicom)
        from_file = read_volume(Path(folder, name))
    np.testing.assert_array_equal(from_file.hu, from_dicom.hu)
    assert same_grid(from_file.grid, from_dicom.grid)
    assert from_file.kvp == volume.kvp
    # In axial order the stored order of the slices no longer shows.
    expected, expected_grid = to_axial(volume.hu, volume.grid)
    actual, actual_grid = to_axial(from_file.hu, from_file.grid)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_allclose(actual_grid.affine, expected_grid.affine, atol=2e-3)


def flip_bytes(data: bytes, positions: list[int], values: list[int]) -> bytes:
    spoiled = bytearray(data)
    for position, value in zip(positions, values, strict=True):
        spoiled[position % len(data)] = value
    return bytes(spoiled)


def dicom_bytes(folder: Path) -> bytes:
    return write_dicom(folder, make_volume(make_grid((2, 3, 3))))[0].read_bytes()


def file_bytes(name: str) -> Callable[[Path], bytes]:
    def write(folder: Path) -> bytes:
        write_itk(folder / name, make_volume().hu, make_grid())
        return (folder / name).read_bytes()

    return write


damage = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("name", "make"),
    [("0001.dcm", dicom_bytes)]
    + [(name, file_bytes(name)) for name in ("x.nii", "x.nii.gz", "x.nrrd", "x.mha")],
)
def test_no_damage_stops_the_scan(name: str, make: Callable[[Path], bytes], tmp_path: Path) -> None:
    data = make(tmp_path)

    @given(damage, st.integers(0, len(data)))
    @settings(max_examples=60, deadline=None)
    def check(bytes_to_set: list[tuple[int, int]], kept: int) -> None:
        positions, values = zip(*bytes_to_set, strict=True)
        spoiled = flip_bytes(data, list(positions), list(values))
        for content in (spoiled, data[:kept]):
            (tmp_path / name).write_bytes(content)
            for finding in find_images(tmp_path):
                try_to_read(read_finding, finding)
            try_to_read(read_label_map, tmp_path / name)

    check()


def try_to_read(read: Callable[[Any], Any], source: Any) -> None:
    """Read, letting pass only the refusals that a caller is told about."""
    with contextlib.suppress(ImagingError, LabelError):
        read(source)


class TestContentHash:
    def test_copies_are_equal_whatever_their_identifiers(self) -> None:
        volume = make_volume()
        copy = Volume(volume.hu.copy(), volume.grid, 100.0, Identifiers("other"))
        assert content_hash(copy) == content_hash(volume)

    def test_is_a_sha256(self) -> None:
        assert len(content_hash(make_volume())) == 64
        assert int(content_hash(make_volume()), 16)

    def test_one_voxel_makes_a_difference(self) -> None:
        volume = make_volume()
        other = volume.hu.copy()
        other[2, 3, 4] += 1
        assert content_hash(Volume(other, volume.grid)) != content_hash(volume)

    def test_place_and_spacing_make_a_difference(self) -> None:
        hu = make_volume().hu
        grids = [
            make_grid(),
            make_grid(origin_mm=(0.0, 0.0, 0.01)),
            make_grid(spacing_mm=(3.0, 0.5, 0.51)),
        ]
        assert len({content_hash(Volume(hu, grid)) for grid in grids}) == 3

    def test_the_shape_makes_a_difference(self) -> None:
        hu = make_volume(make_grid((2, 6, 4))).hu
        one = Volume(hu, make_grid((2, 6, 4)))
        two = Volume(hu.reshape(2, 4, 6), make_grid((2, 4, 6)))
        assert content_hash(one) != content_hash(two)

    def test_the_layout_in_memory_makes_none(self) -> None:
        volume = make_volume()
        other: NDArray[np.int16] = np.asfortranarray(volume.hu)
        assert content_hash(Volume(other, volume.grid)) == content_hash(volume)

    @pytest.mark.parametrize("offset", [0.0, -0.0, 3e-5, -3e-5])
    def test_the_rounding_of_nifti_makes_none(self, offset: float) -> None:
        hu = make_volume().hu
        exact = Volume(hu, make_grid(origin_mm=(0.0, 123.456, 0.0)))
        rounded = Volume(hu, make_grid(origin_mm=(offset, 123.456 + offset, offset)))
        assert content_hash(rounded) == content_hash(exact)

    def test_nifti_and_dicom_of_one_volume_are_equal(self, tmp_path: Path) -> None:
        # 0.1 and 512.3 have no exact float32, which NIfTI keeps them in.
        made = make_volume(make_grid(origin_mm=(0.1, 512.3, -0.7)))
        write_dicom(tmp_path / "dicom", made)
        volume = read_volume(tmp_path / "dicom")
        write_volume(tmp_path / "x.nii.gz", volume)
        assert content_hash(read_volume(tmp_path / "x.nii.gz")) == content_hash(volume)


def test_labels_of_the_factory_reach_every_value() -> None:
    assert set(np.unique(make_labels())) == set(range(9))
