"""``caclabel serve`` and ``caclabel worker``: what they refuse before they start."""

import socket
import subprocess
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import Settings
from server.cli import main
from server.commands.serve import _check_certificate, _greeting


def test_a_missing_studies_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = tmp_path / "nowhere"
    for command in ("serve", "worker"):
        assert main([command, "--studies", str(studies), "--data", str(tmp_path / "data")]) == 2
        assert capsys.readouterr().err == (
            f"caclabel: the studies folder {studies} does not exist\n"
        )


def test_a_data_folder_within_the_studies_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--studies", str(tmp_path), "--data", str(tmp_path / "data")]) == 2
    assert "never written to" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "--data", str(tmp_path / "data"), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1 port {port}" in error
    assert "--port" in error


def test_an_impossible_port_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--data", str(tmp_path), "--port", "70000"]) == 2
    assert "setting port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("0.0.0.0", f"http://{socket.gethostname()}:8000/"),
    ],
)
def test_the_greeting_has_an_address_to_paste(host: str, address: str, tmp_path: Path) -> None:
    assert address in _greeting(Settings(host=host, data=tmp_path)).split()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_strangers_are_not_let_in_by_a_slip(
    host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--host", host, "--data", str(tmp_path / "data")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"caclabel: listening on {host} needs somebody who may log in")
    assert "caclabel user add NAME" in error
    assert error.count("\n") == 1


def test_a_certificate_without_its_key_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACLABEL_TLS_CERTIFICATE", str(tmp_path / "server.pem"))
    assert main(["serve", "--data", str(tmp_path / "data")]) == 2
    assert "tls_key" in capsys.readouterr().err


def make_certificate(folder: Path, name: str, *, password: str = "") -> tuple[Path, Path]:
    """Return a certificate and its key, as PEM files."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 1 -subj /CN=x"
    hidden = ["-passout", f"pass:{password}"] if password else ["-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *hidden, *files], check=True, capture_output=True)
    return certificate, key


def test_a_certificate_that_cannot_be_used_is_told_before_anything_starts(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "one")
    _check_certificate(certificate, key)
    _, key_of_another = make_certificate(tmp_path, "two")
    _, with_password = make_certificate(tmp_path, "three", password="secret")
    (junk := tmp_path / "junk.pem").write_text("junk")
    for files in ((certificate, key_of_another), (certificate, with_password), (junk, key)):
        with pytest.raises(SettingsError, match="cannot be used"):
            _check_certificate(*files)
