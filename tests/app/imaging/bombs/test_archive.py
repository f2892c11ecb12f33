"""Zip files that would fill disk or memory, or lead out of their folder."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import ImagingError
from app.imaging.archive import open_archive
from tests.app.imaging.bombs.memory import at_most

LIMIT = 1 << 20


def pack(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def unpack(path: Path, folder: Path) -> list[bytes]:
    """Return what the files of an archive become on disk."""
    with open_archive(path, max_files=10, max_bytes=LIMIT) as archive:
        for number, _ in enumerate(archive.names):
            archive.extract(number, folder / str(number))
        return [(folder / str(number)).read_bytes() for number, _ in enumerate(archive.names)]


def edit(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_a_million_entries_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    path, count = tmp_path / "x.zip", 1_000_000
    entry = b"PK\x01\x02" + bytes(24) + b"\x01" + bytes(17) + b"a"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 0, 0)
    path.write_bytes(entry * count + end)
    with at_most(16), pytest.raises(ImagingError, match="too many entries"):
        unpack(path, tmp_path)


def test_more_files_than_allowed_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {f"f{number}": b"" for number in range(11)})
    with pytest.raises(ImagingError, match="at most 10 files"):
        unpack(path, tmp_path)


def test_an_archive_with_a_remark_is_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"a": b"content"})
    with zipfile.ZipFile(path, "a") as packed:
        packed.comment = b"by a scanner"
    assert unpack(path, tmp_path) == [b"content"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int, tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"a": bytes(1000)}, method)
    with pytest.raises(ImagingError, match="stored or deflated"):
        unpack(path, tmp_path)


def test_a_file_never_becomes_more_than_it_says(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"a": bytes(5 * LIMIT)})
    # The true size stands twice: before the file, and in the table.
    edit(path, struct.pack("<L", 5 * LIMIT), struct.pack("<L", 10))
    with pytest.raises(ImagingError, match="cannot be unpacked"):
        unpack(path, tmp_path)
    assert (tmp_path / "0").stat().st_size <= 10


def test_a_link_is_a_file_and_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as packed:
        link = zipfile.ZipInfo("link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    assert unpack(path, tmp_path) == [b"/etc/passwd"]
    assert not (tmp_path / "0").is_symlink()


def test_an_archive_in_an_archive_stays_one(tmp_path: Path) -> None:
    inner = pack(tmp_path / "inner.zip", {"a": bytes(100)}).read_bytes()
    assert unpack(pack(tmp_path / "x.zip", {"inner.zip": inner}), tmp_path) == [inner]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "encrypted": lambda path: edit(
        path, b"PK\x01\x02\x14\x03\x14\0\0", b"PK\x01\x02\x14\x03\x14\0\1"
    ),
    "name that is no text": lambda path: edit(
        path, b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\x08"
    ),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_archives_are_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", {"\u00ff.dcm": bytes(300)})
    # Stored as Latin-1 the name is no UTF-8.
    path.write_bytes(
        path.read_bytes().replace("\u00ff".encode(), b"\xff\xfe").replace(b"\0\x08", b"\0\0")
    )
    damage(path)
    with pytest.raises(ImagingError, match="cannot be unpacked"):
        unpack(path, tmp_path)
