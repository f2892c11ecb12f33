"""Pages, health, quarantine, logs, model files, log-in state and origins."""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import model_versions
from app.background.presence import ALIVE_WITHIN_S
from app.settings import Settings
from app.store.tables import QuarantineRow, SegmentationRow, WorkerRow
from server import logs
from server.main import create_app
from tests.server.conftest import Site
from tests.server.pool import add_model, add_prediction


class TestPages:
    def test_index_tells_the_counts_and_that_it_is_for_research(self, pool: Site) -> None:
        pool.submit("case_1")
        page = pool.client.get("/").text
        assert "research use only" in page.lower()
        assert "<th>Images</th><td>2</td>" in page
        assert "<th>Labeled</th><td>1</td>" in page

    def test_index_tells_the_address_to_connect_to(self, client: TestClient) -> None:
        assert "<code>http://testserver/</code>" in client.get("/").text

    @pytest.mark.parametrize("path", ["/", "/docs", "/logs/"])
    def test_no_page_loads_anything_from_elsewhere(self, site: Site, path: str) -> None:
        write_log(site.services.settings, "line\n")
        page = site.client.get(path).text
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
        assert "<script" not in page

    def test_docs_list_every_endpoint(self, client: TestClient) -> None:
        page = client.get("/docs").text
        for path in client.get("/openapi.json").json()["paths"]:
            assert f"<code>{path}</code>" in page


class TestHealth:
    def test_tells_when_no_worker_is_there(self, client: TestClient) -> None:
        body = client.get("/health").json()
        assert body["status"] == "no worker"
        assert body["workers"] == []

    @pytest.mark.parametrize(("age_s", "status"), [(0.0, "ok"), (10**6, "no worker")])
    def test_a_worker_lives_by_its_signs(self, site: Site, age_s: float, status: str) -> None:
        seen_at = time.time() - age_s
        with site.services.database.writing() as session:
            session.add(WorkerRow(id="worker-0", seen_at=seen_at, started_at=0.0))
        body = site.client.get("/health").json()
        assert body["status"] == status
        assert body["workers"][0]["is_alive"] == (age_s < ALIVE_WITHIN_S)


def test_quarantine_tells_each_reason(site: Site) -> None:
    row = QuarantineRow(path="a/b", signature="s", problem="a slice is missing", seen_at=5.0)
    with site.services.database.writing() as session:
        session.add(row)
    expected = [{"path": "a/b", "problem": "a slice is missing", "seen_at": 5.0}]
    assert site.client.get("/quarantine").json() == expected


def test_segmentations_that_became_no_label_tell_why_newest_first(site: Site) -> None:
    rows = [
        SegmentationRow(sop_uid="1.1", origin="pacs", problem="of another organ", seen_at=5.0),
        SegmentationRow(sop_uid="1.2", origin="stow", problem="", seen_at=6.0),
        SegmentationRow(sop_uid="1.3", origin="stow", problem="of two arteries", seen_at=7.0),
    ]
    with site.services.database.writing() as session:
        session.add_all(rows)
    expected = [
        {"sop_uid": "1.3", "origin": "stow", "problem": "of two arteries", "seen_at": 7.0},
        {"sop_uid": "1.1", "origin": "pacs", "problem": "of another organ", "seen_at": 5.0},
    ]
    assert site.client.get("/quarantine/segmentations").json() == expected
    page = site.client.get("/").text
    assert '<a href="quarantine/segmentations">Segmentations refused</a></th><td>2</td>' in page


def test_nobody_has_to_log_in(client: TestClient) -> None:
    assert client.get("/auth/").json() == {"enabled": False}


def write_log(settings: Settings, text: str) -> None:
    logs.log_file(settings).parent.mkdir(exist_ok=True)
    logs.log_file(settings).write_text(text)


class TestLogs:
    @pytest.mark.parametrize(
        ("query", "lines"), [("lines=2", "b\nc\n"), ("lines=0", "a\nb\nc\n"), ("", "a\nb\nc\n")]
    )
    def test_text_is_the_last_lines(self, site: Site, query: str, lines: str) -> None:
        write_log(site.services.settings, "a\nb\nc\n")
        answer = site.client.get(f"/logs/?text=true&{query}")
        assert answer.text == lines
        assert answer.headers["content-type"].startswith("text/plain")

    def test_a_page_shows_text_as_text(self, site: Site) -> None:
        write_log(site.services.settings, "<script>alert(1)</script>")
        page = site.client.get("/logs/?refresh=5").text
        assert "&lt;script&gt;" in page
        assert 'http-equiv="refresh" content="5"' in page

    def test_no_log_yet_is_404(self, client: TestClient) -> None:
        assert client.get("/logs/").status_code == 404

    def test_no_graphics_card_is_404(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert client.get("/logs/gpu").status_code == 404

    def test_a_graphics_card_is_shown(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\necho one card\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert client.get("/logs/gpu").text == "one card\n"

    def test_a_large_log_is_put_aside(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(logs, "_LARGEST_LOG_BYTES", 3)
        write_log(settings, "abcd")
        logs.put_aside_if_large(settings)
        assert not logs.log_file(settings).exists()
        assert logs.log_file(settings).with_suffix(".log.1").read_text() == "abcd"

    def test_every_process_appends_to_the_same_file(self, settings: Settings) -> None:
        write_log(settings, "first\n")
        root = logging.getLogger()
        before, level = root.handlers[:], root.level
        # basicConfig closes the handlers it replaces, which belong to the test runner.
        root.handlers = []
        try:
            logs.write_to_file(settings)
            logging.getLogger("test").info("second")
            lines = logs.log_file(settings).read_text().splitlines()
        finally:
            for handler in root.handlers:
                handler.close()
            root.handlers = before
            root.setLevel(level)
        assert lines[0] == "first"
        assert lines[1].endswith("(test) [-] second")


class TestModelFiles:
    def test_there_is_none_before_the_first_training(self, client: TestClient) -> None:
        assert client.get("/model/calcium").status_code == 404
        assert client.get("/model/info/calcium").status_code == 404

    def test_weights_are_answered_as_safetensors(self, site: Site) -> None:
        add_model(site.services)
        info = site.client.get("/model/info/calcium").json()
        assert info["checksum"] == "SHA256:" + "ab" * 32
        assert info["modified_time"] == 1000
        assert info["card"] == {"code_version": "0.1.0"}
        assert site.client.get("/model/calcium").status_code == 404

        folder = site.services.settings.data / "models"
        folder.mkdir()
        with site.services.database.reading() as session:
            version = model_versions.active(session)
            assert version is not None
            (folder / f"{version.job_id}.safetensors").write_bytes(b"weights")
        answer = site.client.get("/model/calcium")
        assert answer.content == b"weights"
        assert 'filename="calcium.safetensors"' in answer.headers["content-disposition"]

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    def test_weights_cannot_be_changed(self, client: TestClient, method: str) -> None:
        answer = client.request(method, "/model/calcium", files={"file": ("a.pt", b"evil")})
        assert answer.status_code == 403
        assert isinstance(answer.json()["detail"], str)


class TestOrigins:
    def test_no_other_origin_may_call_by_default(self, client: TestClient) -> None:
        answer = client.get("/info/", headers={"Origin": "http://viewer"})
        assert "access-control-allow-origin" not in answer.headers

    @pytest.mark.parametrize("allowed", ["http://viewer", "*"])
    def test_configured_origins_may(self, settings: Settings, allowed: str) -> None:
        opened = settings.model_copy(update={"cors_origins": (allowed,)})
        asked = {"Origin": "http://viewer", "Access-Control-Request-Method": "PUT"}
        with TestClient(create_app(opened)) as client:
            answer = client.options("/datastore/label", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] in {"*", "http://viewer"}
        assert "PUT" in answer.headers["access-control-allow-methods"]


def test_the_web_process_never_imports_a_network(pool: Site) -> None:
    add_prediction(pool.services, "case_1", add_model(pool.services))
    script = Path(__file__).with_name("web_process.py")
    data = str(pool.services.settings.data)
    # Another process: this one may have imported anything.
    done = subprocess.run(
        [sys.executable, str(script), data], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["200"] * 6, done.stderr
