"""The folder that an export writes to."""

from pathlib import Path

import pytest

from app.errors import ConflictError, InvalidInputError
from app.exchange.data_folder import DataFolder
from app.exchange.target import Target
from tests.app.conftest import Deployment


class TestTarget:
    def test_a_folder_with_files_is_refused(self, pool: DataFolder, out: Path) -> None:
        Target(out, pool.settings).add_bytes("a", b"1")
        with pytest.raises(ConflictError, match=r"not empty.*--add"):
            Target(out, pool.settings)

    def test_nothing_is_overwritten(self, pool: DataFolder, out: Path) -> None:
        target = Target(out, pool.settings)
        assert [target.add_bytes("a", b"1") for _ in range(2)] == ["written", "unchanged"]
        with pytest.raises(ConflictError, match="a exists with other content"):
            target.add_bytes("a", b"2")
        assert [path.name for path in out.iterdir()] == ["a"]
        assert (out / "a").read_bytes() == b"1"

    @pytest.mark.parametrize("place", ["data", "studies"])
    def test_the_folders_of_the_server_are_no_target(
        self, deployment: Deployment, place: str
    ) -> None:
        own = {"data": deployment.settings.data, "studies": deployment.studies}[place]
        with pytest.raises(InvalidInputError, match="outside"):
            Target(own / "export", deployment.settings)
        assert not (own / "export").exists()
