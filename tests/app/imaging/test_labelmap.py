"""Label maps: written for viewers, read from them, refused when they are no labels."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray

from app.calcium.labels import LABELS
from app.errors import LabelError
from app.imaging.geometry import same_grid
from app.imaging.labelmap import Segment, read_label_map, write_label_map
from tests.factories import ORIENTATIONS, make_grid, make_labels, to_itk, write_itk, write_nifti


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("name", ["x.nrrd", "x.seg.nrrd", "x.nii", "x.nii.gz"])
class TestEveryFormat:
    def test_comes_back_as_written(self, name: str, compress: bool, tmp_path: Path) -> None:
        grid = make_grid(directions=ORIENTATIONS[29])
        write_label_map(tmp_path / name, make_labels(), grid, compress=compress)
        label = read_label_map(tmp_path / name)
        np.testing.assert_array_equal(label.array, make_labels())
        assert label.array.dtype == np.uint8
        assert same_grid(label.grid, grid)

    def test_simpleitk_reads_the_same(self, name: str, compress: bool, tmp_path: Path) -> None:
        grid = make_grid(directions=ORIENTATIONS[13])
        write_label_map(tmp_path / name, make_labels(), grid, compress=compress)
        image = SimpleITK.ReadImage(str(tmp_path / name))
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), make_labels())
        expected = to_itk(make_labels(), grid)
        assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-4)
        assert image.GetSpacing() == pytest.approx(expected.GetSpacing(), abs=1e-6)
        assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-6)


@pytest.mark.parametrize(
    ("compress", "encoding"), [(False, b"encoding: raw"), (True, b"encoding: gzip")]
)
def test_nrrd_is_raw_or_gzip_and_always_lps_bytes(
    compress: bool, encoding: bytes, tmp_path: Path
) -> None:
    write_label_map(tmp_path / "x.nrrd", make_labels(), make_grid(), compress=compress)
    data = (tmp_path / "x.nrrd").read_bytes()
    assert encoding in data
    assert b"space: left-posterior-superior" in data
    assert b"type: unsigned char" in data
    if not compress:
        assert data.endswith(b"\n\n" + make_labels().tobytes())


def test_nibabel_reads_the_same(tmp_path: Path) -> None:
    write_label_map(tmp_path / "x.nii.gz", make_labels(), make_grid(), compress=True)
    image = nibabel.Nifti1Image.from_filename(tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), make_labels())
    assert image.get_data_dtype() == np.uint8


def test_names_become_segments(tmp_path: Path) -> None:
    path = tmp_path / "x.seg.nrrd"
    write_label_map(path, make_labels(), make_grid(), compress=True, names=LABELS)
    expected = tuple(Segment(name, value) for name, value in LABELS.items())
    assert read_label_map(path).segments == expected


def test_a_plain_label_map_has_no_names(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "x.nrrd", make_labels(), make_grid())
    assert read_label_map(path).segments == ()


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint16, np.float32, np.float64])
def test_whole_values_of_any_type_are_labels(dtype: Any, tmp_path: Path) -> None:
    labels = make_labels().astype(dtype)
    for path in (
        write_itk(tmp_path / "x.nrrd", labels, make_grid()),
        write_nifti(tmp_path / "x.nii.gz", labels.astype(np.float64), make_grid()),
    ):
        array = read_label_map(path).array
        np.testing.assert_array_equal(array, make_labels())
        assert array.dtype == np.uint8


def test_values_above_255_need_two_bytes(tmp_path: Path) -> None:
    labels = make_labels().astype(np.int32) * 1000
    array = read_label_map(write_itk(tmp_path / "x.mha", labels, make_grid())).array
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, labels)


@pytest.mark.parametrize(
    ("value", "fragment"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (0.5, "fractions"),
        (-1, "0 to 65535, got -1"),
        (65_536, "0 to 65535"),
    ],
)
@pytest.mark.parametrize("name", ["x.nrrd", "x.nii.gz", "x.mha"])
def test_values_that_are_no_labels_are_refused(
    value: float, fragment: str, name: str, tmp_path: Path
) -> None:
    labels = make_labels().astype(np.float32)
    labels[1, 2, 3] = value
    with pytest.raises(LabelError, match=fragment):
        read_label_map(write_itk(tmp_path / name, labels, make_grid()))


@pytest.mark.parametrize("data", [b"", b"NRRD0004\n", b"\x1f\x8b\x08\x00", b"{}", b"\0" * 4000])
@pytest.mark.parametrize("name", ["x.nrrd", "x.nii", "x.nii.gz", "x.mha", "x.nhdr"])
def test_garbage_is_refused(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(LabelError):
        read_label_map(tmp_path / name)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(LabelError, match=r"'\.json'"):
        read_label_map(tmp_path / "x.json")
    with pytest.raises(LabelError, match=r"'\.json'"):
        write_label_map(tmp_path / "x.json", make_labels(), make_grid(), compress=False)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError):
        read_label_map(tmp_path / "x.nrrd")


def test_a_label_of_another_shape_than_its_grid_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        write_label_map(tmp_path / "x.nrrd", make_labels((2, 2, 2)), make_grid(), compress=False)


def slicer_segmentation(
    path: Path, layers: NDArray[np.uint8], fields: dict[str, str], origin: str = "(1,2,3)"
) -> Path:
    """Write layers (L, Z, Y, X) the way 3D Slicer does: layer fastest, a list axis in front."""
    count, depth, rows, columns = layers.shape
    lines = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "type: unsigned char",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {count} {columns} {rows} {depth}",
        "space directions: none (0.75,0,0) (0,0.5,0) (0,0,3)",
        "kinds: list domain domain domain",
        "encoding: raw",
        f"space origin: {origin}",
        *(f"{key}:={value}" for key, value in fields.items()),
    ]
    header = "\n".join(lines) + "\n\n"
    path.write_bytes(header.encode() + np.moveaxis(layers, 0, -1).tobytes())
    return path


FIELDS = {
    "Segment0_ID": "Segment_1",
    "Segment0_Name": "LAD",
    "Segment0_LabelValue": "1",
    "Segment0_Layer": "0",
    "Segment0_Color": "0.5 0.6 0.7",
    "Segment1_ID": "Segment_2",
    "Segment1_Name": "LAD region",
    "Segment1_LabelValue": "1",
    "Segment1_Layer": "1",
    "Segmentation_ReferenceImageExtentOffset": "0 0 0",
}


def test_overlapping_segments_keep_their_layers(tmp_path: Path) -> None:
    layers = np.stack([make_labels(seed=1, values=1), make_labels(seed=2, values=1)])
    label = read_label_map(slicer_segmentation(tmp_path / "x.seg.nrrd", layers, FIELDS))
    np.testing.assert_array_equal(label.array, layers)
    assert label.segments == (Segment("LAD", 1, 0), Segment("LAD region", 1, 1))
    # Spacing is along (Z, Y, X), the origin along (x, y, z).
    assert label.grid.spacing_mm == (3.0, 0.5, 0.75)
    assert label.grid.affine[:3, 3].tolist() == [1.0, 2.0, 3.0]


def test_segments_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    fields = {f"Segment{number}_Name": f"s{number}" for number in (10, 2, 0, 1)}
    path = slicer_segmentation(tmp_path / "x.seg.nrrd", make_labels()[None], fields)
    assert [segment.name for segment in read_label_map(path).segments] == ["s0", "s1", "s2", "s10"]


@pytest.mark.parametrize("field", ["Segment1_LabelValue", "Segment1_Layer"])
@pytest.mark.parametrize("value", ["one", "1.5", "-1", "7000000"])
def test_nonsense_in_the_segment_header_is_refused(field: str, value: str, tmp_path: Path) -> None:
    layers = np.stack([make_labels(values=1)] * 2)
    path = slicer_segmentation(tmp_path / "x.seg.nrrd", layers, FIELDS | {field: value})
    with pytest.raises(LabelError, match="segment 'LAD region'"):
        read_label_map(path)
