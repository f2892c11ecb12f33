import hashlib
import os
import threading
from pathlib import Path

import pytest

from app.errors import NotFoundError
from app.store.files import FileStore, file_sha256, write_durably


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def test_a_file_is_named_by_its_content(store: FileStore) -> None:
    digest = store.put(b"abc", ".nrrd")
    # FIPS 180-2, example B.1.
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.path(digest, ".nrrd").read_bytes() == b"abc"


def test_nothing_but_the_files_stays_behind(store: FileStore, tmp_path: Path) -> None:
    source = tmp_path / "upload.tmp"
    source.write_bytes(b"moved")
    digests = {store.put(b"a", ".bin"), store.put(b"a", ".bin"), store.put_file(source, ".bin")}
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.stem for path in stored} == digests
    assert len(stored) == 2


def test_what_is_not_there_is_not_found(store: FileStore) -> None:
    digest = store.put(b"a", ".nrrd")
    for missing, extension in ((digest, ".nii"), ("0" * 64, ".nrrd")):
        with pytest.raises(NotFoundError) as caught:
            store.path(missing, extension)
        assert str(store.root) not in str(caught.value)


def test_many_may_put_the_same_content_at_once(store: FileStore) -> None:
    content = os.urandom(200_000)
    digests: list[str] = []
    threads = [
        threading.Thread(target=lambda: digests.append(store.put(content, ".bin")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(digests) == {hashlib.sha256(content).hexdigest()}
    assert len(digests) == 8
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [content]


def test_content_and_entry_are_synced_before_the_name_appears(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        is_folder = os.fstat(descriptor).st_mode & 0o170000 == 0o040000
        events.append("folder" if is_folder else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    store.root.mkdir()
    (store.root / hashlib.sha256(b"a").hexdigest()[:2]).mkdir()
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    store.put(b"a", ".bin")
    assert events == ["file", "rename", "folder"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "state"
    write_durably(target, b"old")
    with pytest.raises(TypeError):
        write_durably(target, "no bytes")  # type: ignore[arg-type]  # stands for any failure
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_digest_of_a_large_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    # Larger than the chunk of a mebibyte that is read at a time.
    content = os.urandom(2**20 + 17)
    path = tmp_path / "large"
    path.write_bytes(content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()
