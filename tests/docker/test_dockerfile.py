"""The Dockerfile: what its images promise and hadolint does not look at."""

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from app.settings import PREFIX, Settings
from server.cli import main

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("cpu", "gpu")


@dataclass(frozen=True)
class Stage:
    """One stage: where it begins, and its instructions with their values."""

    name: str
    base: str
    steps: tuple[tuple[str, str], ...]

    def values(self, instruction: str) -> list[str]:
        """Return the values of every instruction of a kind."""
        return [value for kind, value in self.steps if kind == instruction]


def read_stages() -> dict[str, Stage]:
    parser = DockerfileParser(str(ROOT / "docker" / "Dockerfile"), cache_content=True)
    stages: dict[str, Stage] = {}
    for step in parser.structure:
        kind, value = step["instruction"], step["value"]
        if kind == "COMMENT":
            continue
        if kind == "FROM":
            base, _, name = re.split(r"\s+", value)
            stages[name] = Stage(name, base, ())
        else:
            last = stages[name]
            stages[name] = Stage(name, last.base, (*last.steps, (kind, value)))
    return stages


STAGES = read_stages()


def lineage(name: str) -> list[Stage]:
    """Return a stage after those it is built on, the first one first."""
    stage = STAGES[name]
    return [*(lineage(stage.base) if stage.base in STAGES else []), stage]


def last_value(target: str, instruction: str) -> str:
    return [value for stage in lineage(target) for value in stage.values(instruction)][-1]


def environment(target: str) -> dict[str, str]:
    pairs = [pair for stage in lineage(target) for v in stage.values("ENV") for pair in v.split()]
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_what_is_built_without_a_target_is_for_a_processor() -> None:
    assert list(STAGES)[-1] == "cpu"
    assert set(TARGETS) <= set(STAGES)


def test_images_from_outside_are_named_with_version_and_release() -> None:
    outside = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    assert len(outside) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", outside[0])


@pytest.mark.parametrize("target", TARGETS)
class TestEveryTarget:
    def test_it_runs_as_a_numbered_user_that_is_not_root(self, target: str) -> None:
        # Kubernetes can tell that a number is not root, and not that a name is not.
        assert last_value(target, "USER") == "10001:10001"
        assert STAGES[target].steps[-1][0] == "USER"

    def test_its_commands_are_lists_so_that_signals_arrive(self, target: str) -> None:
        assert ast.literal_eval(last_value(target, "ENTRYPOINT")) == ["caclabel"]
        assert ast.literal_eval(last_value(target, "CMD")) == ["serve"]
        assert last_value(target, "STOPSIGNAL") == "SIGTERM"

    def test_it_asks_itself_whether_it_is_well(
        self, target: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        found = re.search(r"CMD (\[.*\])", last_value(target, "HEALTHCHECK"))
        assert found is not None
        program, *words = ast.literal_eval(found[1])
        assert program == "caclabel"
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0
        assert "--ready" in capsys.readouterr().out

    def test_its_settings_are_settings(self, target: str) -> None:
        own = {name: v for name, v in environment(target).items() if name.startswith(PREFIX)}
        assert {name.removeprefix(PREFIX).lower() for name in own} <= set(Settings.model_fields)
        assert last_value(target, "VOLUME") == own["CACLABEL_DATA"] == "/data"
        assert last_value(target, "EXPOSE") == str(Settings.model_fields["port"].default)

    def test_it_has_its_own_build_of_pytorch(self, target: str) -> None:
        copied = STAGES[target].values("COPY")
        assert copied == [f"--from=environment-{target} /opt/caclabel /opt/caclabel"]

    def test_its_packages_are_the_pinned_ones(self, target: str) -> None:
        installing = STAGES[f"environment-{target}"].values("RUN")
        assert installing
        for command in " ".join(installing).split("&&"):
            assert "--constraint constraints.txt" in command


def test_its_label_tells_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (label,) = STAGES["runtime"].values("LABEL")
    assert f'image.version="{project["version"]}"' in label
    assert f'image.licenses="{project["license"]}"' in label


def test_only_the_processor_build_names_an_index_and_takes_pytorch_alone_from_it() -> None:
    commands = STAGES["environment-cpu"].values("RUN")[0].split("&&")
    assert ["--index-url" in command for command in commands] == [True, False]
    assert "--no-deps" in commands[0]
    assert commands[0].split()[-1] == "torch"
    assert "--index-url" not in STAGES["environment-gpu"].values("RUN")[0]


def test_every_copied_file_exists_and_is_not_left_out() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = set()
    for stage in STAGES.values():
        for words in (value.split() for value in stage.values("COPY")):
            if words[0].startswith("--from="):
                assert words[0].removeprefix("--from=") in STAGES
            else:
                copied.update(words[:-1])
    assert all((ROOT / name).exists() for name in copied)
    assert copied == let_in
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_nothing_is_fetched_but_packages_and_nothing_of_fetching_is_kept() -> None:
    for stage in STAGES.values():
        assert stage.values("ADD") == []
        for command in stage.values("RUN"):
            assert not re.search(r"\b(curl|wget|git clone)\b", command)
            assert "apt-get" not in command or "rm -rf /var/lib/apt/lists" in command
    assert environment("cpu")["PIP_NO_CACHE_DIR"] == "1"


def test_no_secret_is_an_argument_or_in_the_environment() -> None:
    for stage in STAGES.values():
        for value in [*stage.values("ARG"), *stage.values("ENV")]:
            assert not re.search(r"PASSWORD|SECRET|TOKEN|_KEY", value.upper())
