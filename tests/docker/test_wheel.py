"""The wheel: what an installation gets is what the repository has."""

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app", "models", "server", "strategies")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_every_file_of_the_rooms_is_in_the_wheel(packed: list[str]) -> None:
    files = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    in_rooms = {name for name in packed if name.split("/")[0] in ROOMS}
    assert in_rooms == files
    # Templates, migrations and what the viewer is told: none of them is Python.
    assert len([name for name in in_rooms if not name.endswith(".py")]) > 9


def test_nothing_else_is_in_it_but_its_description(packed: list[str]) -> None:
    others = {name.split("/")[0] for name in packed} - set(ROOMS)
    assert len(others) == 1
    (described,) = others
    assert described.endswith(".dist-info")
    assert {f"{described}/licenses/LICENSE", f"{described}/licenses/NOTICE"} <= set(packed)
