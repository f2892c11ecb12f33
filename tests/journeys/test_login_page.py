"""The page to log in, in a real browser: into the viewer, out again, and never for strangers.

Once by a password of this server, and once on the page of an identity provider, which is of
another site to the browser, with a round of labeling under the name that it tells.
"""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from app import images
from app.settings import Settings
from server.dependencies import open_services
from tests.app.access.identity_provider import (
    AUDIENCE,
    CLIENT,
    SECRET,
    IdentityProvider,
    providing,
)
from tests.journeys.dicom_pool import plant_predictions, write_series_pool
from tests.journeys.serving import RunningServer, started
from tests.journeys.viewing import Viewer, viewing

pytestmark = [
    pytest.mark.slow,
    # Playwright's driver leaves closing its pipes to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

_PASSWORD = "correct horse battery staple"

_TRAIN = """fetch('/train/', {
    method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'},
}).then(answer => answer.status)"""


@pytest.fixture(scope="module")
def issuer() -> Iterator[IdentityProvider]:
    with providing("localhost") as provider:
        yield provider


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, issuer: IdentityProvider
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("login")
    data, studies = folder / "data", write_series_pool(folder / "studies", 1)
    command = [sys.executable, "-m", "server.cli", "user", "add", "dr-a", "--role", "admin"]
    subprocess.run(
        [*command, "--stdin", "--data", str(data)], input=_PASSWORD, text=True, check=True
    )
    # Without a worker, which would take longer to start than all the rest.
    services = open_services(Settings(data=data, studies=studies))
    images.scan_studies(services.database, services.settings, now=lambda: 1000.0)
    services.database.close()
    plant_predictions(data)
    with started(
        studies,
        data,
        workers=0,
        oidc_issuer=issuer.issuer,
        oidc_audience=AUDIENCE,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        oidc_label="the hospital",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def viewer(server: RunningServer) -> Iterator[Viewer]:
    with viewing(server.url) as viewer:
        yield viewer


def fill_in(viewer: Viewer, password: str) -> None:
    viewer.page.fill("input[name=username]", "dr-a")
    viewer.page.fill("input[name=password]", password)
    viewer.page.get_by_role("button", name="Log in", exact=True).click()


@contextmanager
def page_of_a_stranger(target: str) -> Iterator[str]:
    """Serve a page that sends a form to the target as soon as it is opened."""
    form = (
        f'<form method="post" action="{target}"></form><script>document.forms[0].submit()</script>'
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(form.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.05,))
        thread.start()
        try:
            # Another port of the same host is the same site: the cookie comes along.
            yield f"http://127.0.0.1:{other.server_port}/"
        finally:
            other.shutdown()
            thread.join()


def test_who_asks_for_the_viewer_logs_in_and_gets_there(
    viewer: Viewer, server: RunningServer
) -> None:
    viewer.page.goto(f"{server.url}/ohif")
    fill_in(viewer, "a wrong password")
    viewer.page.get_by_text("is wrong").wait_for()
    fill_in(viewer, _PASSWORD)
    # The viewer's own notice: its scripts, styles and settings came.
    viewer.page.get_by_text("Confirm and Hide").wait_for()
    assert viewer.page.url.startswith(f"{server.url}/ohif/")
    assert viewer.foreign == []
    answer = viewer.page.evaluate("fetch('/proxy/dicom/qido/studies').then(a => a.status)")
    assert answer == 200


def test_the_viewer_may_change_things_and_a_page_of_a_stranger_may_not(
    viewer: Viewer, server: RunningServer
) -> None:
    # 409: there are no labels to train on, so the request came through.
    assert viewer.page.evaluate(_TRAIN) == 409
    with (
        page_of_a_stranger(f"{server.url}/train/") as stranger,
        viewer.page.expect_response(f"{server.url}/train/") as answer,
    ):
        viewer.page.goto(stranger)
    assert answer.value.status == 403
    assert answer.value.json()["detail"] == "this was sent by a page of another server"


def test_whoever_logs_out_is_out(viewer: Viewer, server: RunningServer) -> None:
    [cookie] = [c for c in viewer.page.context.cookies() if c["name"] == "caclabel_session"]
    viewer.page.goto(f"{server.url}/login")
    viewer.page.get_by_role("button", name="Log out").click()
    viewer.page.wait_for_url(f"{server.url}/login*")
    stolen = {"caclabel_session": cookie["value"]}
    assert requests.get(f"{server.url}/info/", cookies=stolen, timeout=60).status_code == 401
    gone = viewer.page.goto(f"{server.url}/")
    assert gone is not None
    assert gone.status == 401


def test_who_is_known_to_the_provider_labels_under_that_name(
    viewer: Viewer, server: RunningServer
) -> None:
    viewer.page.goto(f"{server.url}/ohif")
    viewer.page.get_by_role("link", name="Log in with the hospital").click()
    viewer.page.get_by_role("button", name="I am dr-oidc").click()
    viewer.page.wait_for_url(f"{server.url}/ohif*")
    viewer.open_list("patient-0")
    found = viewer.page.evaluate("fetch('/proxy/dicom/qido/studies').then(a => a.json())")
    viewer.open_study(found[0]["0020000D"]["Value"][0])
    viewer.connect()
    assert viewer.next_sample()["StudyInstanceUID"] == found[0]["0020000D"]["Value"][0]
    viewer.segment()
    viewer.save_label()
    with closing(sqlite3.connect(server.data / "caclabel.sqlite")) as connection:
        for table in ("SELECT annotator FROM labels", "SELECT client_id FROM leases"):
            assert connection.execute(table).fetchall() == [("dr-oidc",)]
        trail = "SELECT action FROM audit_events WHERE actor = 'dr-oidc' ORDER BY id"
        actions = [action for (action,) in connection.execute(trail)]
    assert actions == ["log in", "serve sample", "submit label", "store instance"]


def test_the_end_of_the_login_at_the_provider_is_offered(
    viewer: Viewer, server: RunningServer, issuer: IdentityProvider
) -> None:
    viewer.page.goto(f"{server.url}/login")
    viewer.page.get_by_role("button", name="Log out").click()
    link = viewer.page.get_by_role("link", name="Log out at the hospital, too")
    assert str(link.get_attribute("href")).startswith(f"{issuer.issuer}/end_session?")
    gone = viewer.page.goto(f"{server.url}/ohif")
    assert gone is not None
    assert gone.status == 401
