"""The compose file: what it promises beyond its schema."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import PREFIX, Settings
from server.cli import main
from server.security.table import ROUTES

FOLDER = Path(__file__).resolve().parents[2] / "docker"
OURS = ("server", "worker")
OTHERS = ("orthanc", "keycloak")

Service = dict[str, Any]


def services(name: str = "compose.yaml") -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((FOLDER / name).read_text())["services"]
    return found


SERVICES = services()


def variables(name: str) -> dict[str, str]:
    """Return what an example sets, also where it is commented out."""
    lines = (FOLDER / name).read_text().splitlines()
    found = [re.fullmatch(r"#?([A-Z_]+)=(.*)", line) for line in lines]
    return {match[1]: match[2] for match in found if match}


def test_server_and_worker_share_image_and_data_folder() -> None:
    server, worker = (SERVICES[name] for name in OURS)
    assert server["image"] == worker["image"]
    assert server["volumes"] == worker["volumes"]
    assert "data:/data" in server["volumes"]


def test_the_server_starts_no_worker_of_its_own() -> None:
    assert SERVICES["server"]["command"] == ["serve", "--workers", "0"]
    assert SERVICES["worker"]["command"] == ["worker"]


def test_the_worker_waits_for_a_server_that_has_made_the_tables() -> None:
    assert SERVICES["worker"]["depends_on"] == {"server": {"condition": "service_healthy"}}


def test_images_are_only_read() -> None:
    for name in OURS:
        assert [v for v in SERVICES[name]["volumes"] if v.endswith(":/studies:ro")]


@pytest.mark.parametrize("name", OURS)
def test_a_break_in_finds_no_rights_and_nothing_to_write_to(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service  # that of the image
    assert "privileged" not in service
    assert [entry.split(":")[0] for entry in service["tmpfs"]] == ["/tmp"]


@pytest.mark.parametrize("name", [*OURS, *OTHERS])
def test_every_service_is_bounded_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    # The server has the check of its image.
    assert ("healthcheck" in service) == (name != "server")


def test_the_check_of_the_worker_is_a_command_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    how, program, *words = SERVICES["worker"]["healthcheck"]["test"]
    assert (how, program) == ("CMD", "caclabel")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert "--worker" in capsys.readouterr().out


@pytest.mark.parametrize("name", OTHERS)
def test_others_run_only_where_asked_for_and_with_a_version(name: str) -> None:
    assert SERVICES[name]["profiles"] == [name]
    assert re.search(r":\d+\.\d+\.\d+$", SERVICES[name]["image"])


def test_every_port_is_this_machines_alone_unless_said_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(re.match(r"\$\{[A-Z_]+:-127\.0\.0\.1:\d+\}:\d+$", port) for port in ports)


def test_what_is_left_open_is_told_with_what_it_is_without() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    asked = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    assert text.count("${") == len(re.findall(r"\$\{[A-Z_]+:-", text))
    assert variables("env.example") == asked


def test_settings_of_the_examples_are_settings() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = {n for n in variables("caclabel.env.example") if n.startswith(PREFIX)}
    assert len(named) > 5
    assert named <= known


def test_no_secret_is_written_down_where_it_is_kept_for_good() -> None:
    ignored = {"/docker/.env", "/docker/*.env", "/docker/orthanc-users.json"}
    assert ignored <= set((FOLDER.parent / ".gitignore").read_text().split())
    kept = [path for path in FOLDER.iterdir() if path.name not in (".env", "orthanc-users.json")]
    for path in kept:
        if path.is_file() and path.suffix != ".env":
            found = re.findall(r"(?i)(?:password|secret)\"?[ ]*[=:][ ]*(\S+)", path.read_text())
            assert all(value.startswith('"${') for value in found), path.name


def test_the_realm_knows_our_roles_and_names_our_audience() -> None:
    realm = json.loads((FOLDER / "keycloak-realm.json").read_text())
    names = {role["name"] for role in realm["roles"]["realm"]}
    assert names == set(Settings.model_fields["oidc_roles"].default)
    (client,) = realm["clients"]
    (mapper,) = client["protocolMappers"]
    example = variables("caclabel.env.example")
    assert client["clientId"] == example["CACLABEL_OIDC_CLIENT_ID"]
    assert mapper["config"]["included.client.audience"] == example["CACLABEL_OIDC_AUDIENCE"]
    assert example["CACLABEL_OIDC_ISSUER"].endswith(f"/realms/{realm['realm']}")
    # Codes of a login lead to the route that takes them, and nowhere else.
    (way_back,) = client["redirectUris"]
    assert ("GET", way_back.removeprefix("${CACLABEL_ADDRESS}")) in ROUTES
    # Names are who acts: nobody chooses their own.
    assert realm["editUsernameAllowed"] is False
    assert realm["registrationAllowed"] is False


def test_what_the_realm_leaves_open_is_asked_for() -> None:
    text = (FOLDER / "keycloak-realm.json").read_text()
    assert set(re.findall(r"\$\{([A-Z_]+)\}", text)) <= set(variables("keycloak.env.example"))


def test_a_gpu_changes_the_image_of_both_and_is_lent_to_the_worker() -> None:
    laid_over = services("compose.gpu.yaml")
    assert set(laid_over) == set(OURS)
    assert {s["image"] for s in laid_over.values()} == {"caclabel:gpu"}
    assert {s["build"]["target"] for s in laid_over.values()} == {"gpu"}
    assert "deploy" not in laid_over["server"]
    (device,) = laid_over["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_what_is_built_here_is_what_the_makefile_checks() -> None:
    name = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]["name"]
    makefile = (FOLDER.parent / "Makefile").read_text()
    assert f"{name}:cpu" == SERVICES["server"]["image"]
    assert "hadolint docker/Dockerfile" in makefile
    assert "vendor.compose-spec docker/compose*.yaml" in makefile
