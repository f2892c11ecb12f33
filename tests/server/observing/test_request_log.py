"""One line for each request, and an id that leads from an answer to the log and to jobs."""

import errno
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from app.access.roles import Role
from app.background.job_bench import JobBench
from app.background.work import Progress, Units, WorkContext
from app.settings import Settings
from app.store.tables import JobRow
from app.tracing import current_trace
from server.log_lines import FIELDS, JsonFormatter, LineFormatter
from server.main import create_app
from tests.server.conftest import Site
from tests.server.security.conftest import guarding

_MADE = re.compile(r"[0-9a-f]{16}")


@dataclass
class Lines(logging.Handler):
    """Keeps what the log of a server would get, in both formats."""

    text: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(logging.INFO)
        self._text = LineFormatter("(%(name)s) [%(trace)s] %(message)s")
        self._json = JsonFormatter()

    def __hash__(self) -> int:
        return id(self)

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(("httpx", "asyncio")):
            self.text.append(self._text.format(record))
            self.objects.append(self._json.format(record))

    def requests(self) -> list[str]:
        return [line for line in self.text if line.startswith("(server.request_log)")]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, kept = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    yield kept
    root.removeHandler(kept)
    root.setLevel(level)


def test_a_request_is_one_line_with_its_route(site: Site, lines: Lines) -> None:
    answer = site.client.get("/datastore/image?image=DOE_JANE")
    (line,) = lines.requests()
    request_id = answer.headers["X-Request-ID"]
    assert _MADE.fullmatch(request_id)
    assert re.fullmatch(
        rf"\(server.request_log\) \[{request_id}\] GET /datastore/image 404 in [\d.]+ ms, user -",
        line,
    )
    assert "JANE" not in "".join(lines.text + lines.objects)


def test_a_line_in_json_has_its_parts(site: Site, lines: Lines) -> None:
    site.client.get("/info/", headers={"X-Request-ID": "from-a-proxy.1"})
    told = json.loads(lines.objects[-1])
    assert told["request_id"] == "from-a-proxy.1"
    assert (told["method"], told["route"], told["status"]) == ("GET", "/info", 200)
    assert told["duration_ms"] > 0
    assert (told["level"], told["logger"]) == ("INFO", "server.request_log")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["time"])


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\x7fb", "é", "<x>", "a,b"])
def test_an_id_that_is_not_plain_is_replaced(site: Site, given: str) -> None:
    answer = site.client.get("/auth", headers={b"X-Request-ID": given.encode("latin-1")})
    assert _MADE.fullmatch(answer.headers["X-Request-ID"])


def test_a_plain_id_stays(site: Site) -> None:
    answer = site.client.get("/auth", headers={"X-Request-ID": "A-z_0.9" + "x" * 57})
    assert answer.headers["X-Request-ID"] == "A-z_0.9" + "x" * 57


def test_a_path_without_a_route_is_not_told(site: Site, lines: Lines) -> None:
    site.client.get("/patients/DOE_JANE")
    site.client.put("/info")
    assert [line.split("] ")[1].split(" in ")[0] for line in lines.requests()] == [
        "GET unknown 404",
        "PUT unknown 405",
    ]


def test_who_asked_is_told_and_the_key_is_not(settings: Settings, lines: Lines) -> None:
    with guarding(create_app(Settings(access="on")), settings) as guarded:
        key = guarded.keys[Role.ANNOTATOR]
        guarded.client.get(f"/k/{key}/datastore/image/info?image=x")
        guarded.client.get("/info")
    by_key, refused = lines.requests()
    assert "GET /datastore/image/info 404" in by_key
    assert by_key.endswith("user annotator")
    assert "GET /info 401" in refused
    assert refused.endswith("user -")
    assert key not in "".join(lines.text + lines.objects)


def test_a_failure_is_logged_under_the_id_that_its_answer_names(
    settings: Settings, lines: Lines
) -> None:
    application = create_app(settings)

    @application.get("/planted/{name}")
    def fail() -> None:
        raise ZeroDivisionError("planted\n{} [INFO] all is well")

    with TestClient(application, raise_server_exceptions=False) as client:
        answer = client.get("/planted/DOE_JANE", headers={"X-Request-ID": "quoted-by-a-user"})
    assert answer.headers["X-Request-ID"] == "quoted-by-a-user"
    assert answer.json()["detail"].endswith("under quoted-by-a-user")
    assert "[quoted-by-a-user] GET /planted/{name} 500" in lines.requests()[0]
    assert "quoted-by-a-user: GET /planted/{name}" in "".join(lines.text)
    assert "JANE" not in "".join(lines.text + lines.objects)
    told = [json.loads(line) for line in lines.objects if "Traceback" in line]
    assert [line["request_id"] for line in told] == ["quoted-by-a-user"]
    assert told[0]["exception"].endswith("[INFO] all is well")


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), ZeroDivisionError("planted")])
def test_what_went_wrong_is_logged_without_the_path(
    settings: Settings, lines: Lines, fault: Exception
) -> None:
    application = create_app(settings)

    @application.get("/planted/{name}")
    def fail() -> None:
        raise fault

    with TestClient(application, raise_server_exceptions=False) as client:
        client.get("/planted/DOE_JANE")
    (told,) = (line for line in lines.text if line.startswith("(server.errors)"))
    assert "GET /planted/{name}" in told
    assert "JANE" not in told


def test_a_job_is_logged_under_the_request_that_asked_for_it(pool: Site, lines: Lines) -> None:
    seen: list[str] = []

    def train(context: WorkContext, job: JobRow) -> Units:
        del context, job
        seen.append(current_trace().request_id)
        yield Progress(0.5)
        return {}

    pool.submit("case_1")
    pool.submit("case_2")
    asked = pool.client.post("/train/calcium", json={}, headers={"X-Request-ID": "asked-by"})
    assert asked.status_code == 200, asked.text
    services = pool.services
    with services.database.reading() as session:
        job = session.scalars(select(JobRow).where(JobRow.kind == "train")).one()
    context = WorkContext(services.settings, services.database, services.files, "cpu")
    bench = JobBench(context, {"train": train})
    assert bench.begin(job.id)
    assert [bench.advance(job.id), bench.advance(job.id)] == [True, False]
    assert seen == ["asked-by"]
    of_the_job = [line for line in lines.text if line.startswith("(app.background.job_bench)")]
    assert [line.partition("] ")[2] for line in of_the_job] == [
        f"train job {job.id} runs here",
        f"train job {job.id} is done",
    ]
    assert all(f"[asked-by {job.id}]" in line for line in of_the_job)


def test_nothing_is_traced_outside_of_a_request(site: Site) -> None:
    site.client.get("/info")
    assert current_trace().request_id == ""


@pytest.mark.parametrize("end", ["\n", "\r", "\x0b", "\x1b[1A", "\x85", "\u2028", "\ud800"])
def test_json_cannot_be_forged(end: str) -> None:
    name = f'a{end}"}}{{"message": "all is well"}}'
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "no image %s", (name,), None)
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"no image {name}"


def test_json_has_no_secret() -> None:
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "at /k/abc/info", (), None)
    setattr(record, FIELDS, {"header": "Bearer abc.def.ghi", "status": 200})
    told = json.loads(JsonFormatter().format(record))
    assert told["message"] == "at /k/<hidden>/info"
    assert told["header"] == "Bearer <hidden>"
    assert told["status"] == 200
