import subprocess
import sys
from pathlib import Path

import pytest

from server.cli import main


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == "caclabel 0.1.0\n"


def test_help_lists_the_commands_with_their_descriptions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "score" in out
    assert "score the calcium of an image with its label map" in out


def test_help_of_a_command_lists_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["score", "--help"])
    assert stop.value.code == 0
    assert "--mass-factor" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["dance"], ["score"], ["--loud"]])
def test_wrong_arguments_end_with_usage_and_code_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: caclabel" in capsys.readouterr().err


def test_a_refusal_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = str(tmp_path / "absent.nii")
    assert main(["score", absent, absent]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "caclabel: the image does not exist\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_answers_about_itself_load_nothing_heavy(argument: str) -> None:
    code = (
        "import sys\nfrom server.cli import main\n"
        f"try:\n    main([{argument!r}])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'fastapi', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
