"""The page to log in, in a real browser: into the viewer, out again, and never for strangers."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("login")
    data, studies = folder / "data", folder / "studies"
    studies.mkdir()
    command = [sys.executable, "-m", "server.cli", "user", "add", "dr-a", "--role", "admin"]
    subprocess.run(
        [*command, "--stdin", "--data", str(data)], input=_PASSWORD, text=True, check=True
    )
    with started(studies, data, workers=0) as running:
        yield running


@pytest.fixture(scope="module")
def viewer(server: RunningServer) -> Iterator[Viewer]:
    with viewing(server.url) as viewer:
        yield viewer


def fill_in(viewer: Viewer, password: str) -> None:
    viewer.page.fill("input[name=username]", "dr-a")
    viewer.page.fill("input[name=password]", password)
    viewer.page.get_by_role("button", name="Log in").click()


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
    viewer.page.wait_for_url(f"{server.url}/login")
    stolen = {"caclabel_session": cookie["value"]}
    assert requests.get(f"{server.url}/info/", cookies=stolen, timeout=60).status_code == 401
    gone = viewer.page.goto(f"{server.url}/")
    assert gone is not None
    assert gone.status == 401
