import pytest

from app.errors import NotFoundError
from server.dicomweb.paths import parse_path

S, R, N = "1.2.3", "1.2.3.4", "1.2.3.4.5"


@pytest.mark.parametrize(
    ("path", "uids", "rest"),
    [
        ("studies", (None, None, None), "studies"),
        ("series", (None, None, None), "series"),
        (f"studies/{S}", (S, None, None), ""),
        (f"studies/{S}/series", (S, None, None), "series"),
        (f"studies/{S}/instances", (S, None, None), "instances"),
        (f"studies/{S}/series/{R}/metadata", (S, R, None), "metadata"),
        (f"studies/{S}/series/{R}/instances", (S, R, None), "instances"),
        (f"studies/{S}/series/{R}/thumbnail", (S, R, None), "thumbnail"),
        (f"studies/{S}/series/{R}/instances/{N}", (S, R, N), ""),
        (f"studies/{S}/series/{R}/instances/{N}/frames/1,2", (S, R, N), "frames/1,2"),
        (
            f"studies/{S}/series/{R}/instances/{N}/frames/1/rendered",
            (S, R, N),
            "frames/1/rendered",
        ),
        (f"studies/{S}/series/{R}/instances/{N}/bulk/0009/1", (S, R, N), "bulk/0009/1"),
        (f"studies/{S}/bulkdata/a.b", (S, None, None), "bulkdata/a.b"),
    ],
)
def test_a_path_of_dicomweb_is_taken_apart(
    path: str, uids: tuple[str | None, ...], rest: str
) -> None:
    found = parse_path(path, b"/proxy/dicom/qido/" + path.encode())
    assert (found.study_uid, found.series_uid, found.instance_uid) == uids
    assert (found.path, found.rest) == (path, rest)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "system",
        "instances/1.2.3/file",
        "patients",
        "studies/..",
        "studies/../instances",
        "studies/1..2",
        "studies/1.2.",
        f"studies/{'1' * 65}",
        f"studies/{S}/series/{R}/instances/{N}/frames/x",
        f"studies/{S}/series/{R}/instances/{N}/bulk/../../../../system",
        f"studies/{S}/series/{R}/instances/{N}/bulk",
        f"studies/{S}/metadata/more",
        f"studies//{S}",
        f"studies/{S}\n",
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(NotFoundError, match="path of DICOMweb"):
        parse_path(path, path.encode())


@pytest.mark.parametrize("hidden", [b"%2f", b"%2E", b"%5C", b"%00"])
def test_hidden_separators_are_refused_although_what_they_spell_is_allowed(hidden: bytes) -> None:
    with pytest.raises(NotFoundError):
        parse_path(f"studies/{S}", b"/proxy/dicom/qido/studies" + hidden)


def test_a_comma_may_be_encoded() -> None:
    path = f"studies/{S}/series/{R}/instances/{N}/frames/1,2"
    assert parse_path(path, path.replace(",", "%2C").encode()).rest == "frames/1,2"
