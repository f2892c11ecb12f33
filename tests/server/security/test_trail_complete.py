"""No change without a row: every route that changes something is gone through, by the table."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from httpx2 import Response

from app import images
from app.access.roles import Role
from app.calcium.labels import LABELS
from app.imaging.dicom.derivation import Derivation
from app.imaging.dicom.segmentation import write_segmentation
from app.model_versions import weights_path
from app.settings import Settings
from app.store.tables import ActivationRow, AuditRow, ExportRow, ModelVersionRow
from server.security.origins import SAFE_METHODS
from server.security.table import ROUTES
from tests.factories import write_dicom
from tests.server.dicomweb.conftest import SERIES, STUDY, series_volume
from tests.server.pool import image_bytes, label_bytes
from tests.server.security.conftest import PASSWORD, GuardedSite, guarding

Route = tuple[str, str]

ADMIN = str(Role.ADMIN)

WITHOUT_A_ROW: Mapping[Route, str] = {
    ("POST", "/activelearning/lease/heartbeat"): "the lease has its row; its times are in it",
    ("POST", "/infer/{model}"): "an answer; one that is kept has its row: test_infer.py",
    ("PUT", "/model/{model}"): "always refused",
    ("DELETE", "/model/{model}"): "always refused",
}
"""Routes of changing methods that leave no row, each with the reason."""

CHANGES: Mapping[Route, str] = {
    ("POST", "/auth/token"): "log in",
    ("POST", "/login"): "log in",
    ("POST", "/logout"): "log out",
    ("POST", "/activelearning/{strategy}"): "serve sample",
    ("POST", "/batch/infer/{model}"): "start batch",
    ("DELETE", "/batch/infer"): "stop batch",
    ("POST", "/scoring"): "start scoring",
    ("POST", "/scoring/{method}"): "start scoring",
    ("DELETE", "/scoring"): "stop scoring",
    ("POST", "/train"): "start training",
    ("POST", "/train/{model}"): "start training",
    ("DELETE", "/train"): "stop training",
    ("POST", "/model_versions/rollback"): "rollback",
    ("POST", "/model_versions/{version_id}/promote"): "promote",
    ("PUT", "/datastore"): "upload image",
    ("DELETE", "/datastore"): "remove image",
    ("PUT", "/datastore/image"): "upload image",
    ("DELETE", "/datastore/image"): "remove image",
    ("PUT", "/datastore/image/info"): "update image info",
    ("PUT", "/datastore/label"): "submit label",
    ("DELETE", "/datastore/label"): "delete label",
    ("PUT", "/datastore/label/info"): "update label info",
    ("PUT", "/datastore/updatelabelinfo"): "update label info",
    ("PUT", "/session"): "open session",
    ("DELETE", "/session/{session_id}"): "close session",
    ("POST", "/proxy/dicom/studies"): "store instance",
    ("POST", "/proxy/dicom/studies/{study_uid}"): "store instance",
    ("POST", "/proxy/dicom/{root}/studies"): "store instance",
    ("POST", "/proxy/dicom/{root}/studies/{study_uid}"): "store instance",
    ("POST", "/exports/{label_id}/retry"): "retry export",
}
"""What each of the others writes down."""


class Story:
    """Somebody who does all that can be done, and what the trail got from each step."""

    def __init__(self, site: GuardedSite, studies: Path) -> None:
        self.site = site
        self.studies = studies
        self.rows: dict[Route, list[AuditRow]] = {}

    def send(self, route: Route, path: str = "", **body: object) -> Response:
        """Send a request of a route, and keep the rows that it leaves."""
        before = self._last()
        headers = {"Origin": "http://testserver"}
        if ROUTES[route].role is not None and route != ("POST", "/logout"):
            headers |= self.site.as_role(Role.ADMIN)
        answer = self.site.client.request(
            route[0],
            path or route[1],
            headers={**headers, **body.pop("headers", {})},  # type: ignore[dict-item]  # headers are a dict
            follow_redirects=False,
            **body,  # type: ignore[arg-type]  # passed on as it is
        )
        assert answer.status_code < 400, f"{route}: {answer.text}"
        with self.site.services.database.reading() as session:
            new = session.query(AuditRow).filter(AuditRow.id > before)
            self.rows.setdefault(route, []).extend(new.order_by(AuditRow.id))
        return answer

    def _last(self) -> int:
        with self.site.services.database.reading() as session:
            row = session.query(AuditRow).order_by(AuditRow.id.desc()).first()
            return row.id if row is not None else 0

    def log_in_and_out(self) -> None:
        form = {"username": ADMIN, "password": PASSWORD}
        self.send(("POST", "/auth/token"), data=form)
        self.send(("POST", "/login"), data=form)
        self.send(("POST", "/logout"))

    def label(self) -> None:
        """Put images and labels in, and change what is said of them."""
        for number, route in ((1, ("PUT", "/datastore")), (2, ("PUT", "/datastore/image"))):
            file = {"file": (f"case_{number}.nii.gz", image_bytes(number))}
            self.send(route, f"{route[1]}?image=case_{number}", files=file)
        for skip in ({}, {"skip": SERIES[0]}, {"skip": SERIES[0]}):
            self.send(("POST", "/activelearning/{strategy}"), "/activelearning/first", json=skip)
        for number in (1, 2):
            place = f"/datastore/label?image=case_{number}"
            file = {"label": ("label.nrrd", label_bytes())}
            self.send(("PUT", "/datastore/label"), place, files=file)
        of_label = "label=case_1&tag=final"
        info = {"info": '{"remark": "good"}'}
        self.send(("PUT", "/datastore/label/info"), f"/datastore/label/info?{of_label}", data=info)
        route = ("PUT", "/datastore/updatelabelinfo")
        self.send(route, f"{route[1]}?{of_label}", data={"params": '{"remark": "bad"}'})
        self.send(("PUT", "/datastore/image/info"), "/datastore/image/info?image=case_1", data=info)

    def store_segmentation(self) -> None:
        """Store a segmentation by each of the four ways."""
        content = segmentation(self.studies)
        head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
        kind = 'multipart/related; type="application/dicom"; boundary=edge'
        for route in CHANGES:
            if route[1].startswith("/proxy/"):
                path = route[1].replace("{root}", "stow").replace("{study_uid}", STUDY)
                body = head + content + b"\r\n--edge--\r\n"
                self.send(route, path, content=body, headers={"Content-Type": kind})

    def use_session(self) -> None:
        files = [("files", ("Curie Marie.nii.gz", image_bytes()))]
        opened = self.send(("PUT", "/session"), files=files).json()
        self.send(("DELETE", "/session/{session_id}"), f"/session/{opened['session_id']}")

    def learn(self) -> None:
        """Start and stop everything, and choose which version answers."""
        first, second = plant_versions(self.site)
        self.send(
            ("POST", "/model_versions/{version_id}/promote"), f"/model_versions/{second}/promote"
        )
        rollback = {"expected_active": second, "reason": "worse"}
        self.send(("POST", "/model_versions/rollback"), json=rollback)
        assert first != second
        for route, path in (
            (("POST", "/train"), ""),
            (("DELETE", "/train"), ""),
            (("POST", "/train/{model}"), "/train/calcium"),
            (("POST", "/scoring"), ""),
            (("DELETE", "/scoring"), ""),
            (("DELETE", "/scoring"), ""),
            (("POST", "/scoring/{method}"), "/scoring/dice"),
            (("POST", "/batch/infer/{model}"), "/batch/infer/calcium"),
            (("DELETE", "/batch/infer"), ""),
        ):
            self.send(route, path)

    def clear(self) -> None:
        label_id = plant_failed_export(self.site)
        self.send(("POST", "/exports/{label_id}/retry"), f"/exports/{label_id}/retry")
        self.send(("DELETE", "/datastore/label"), "/datastore/label?id=case_1&tag=final")
        self.send(("DELETE", "/datastore/image"), "/datastore/image?id=case_1")
        self.send(("DELETE", "/datastore"), "/datastore?id=case_2")


def segmentation(studies: Path) -> bytes:
    paths = sorted((studies / "series").glob("*.dcm"))
    labels = np.zeros((len(paths), 6, 7), np.uint8)
    labels[1, 2:4, 2:4] = LABELS["LAD"]
    return write_segmentation(paths, labels, Derivation("seed", 0.0))


def plant_versions(site: GuardedSite) -> tuple[int, int]:
    """Let one version answer and another one wait."""
    with site.services.database.writing() as session:
        rows = [
            ModelVersionRow(
                job_id=f"{number}",
                sha256="ab" * 32,
                card={},
                label_count=3,
                is_active=number == 1,
                created_at=float(number),
            )
            for number in (1, 2)
        ]
        session.add_all(rows)
        session.flush()
        session.add(ActivationRow(model_version_id=rows[0].id, below_id=None, at=1.0))
    for row in rows:
        weights = weights_path(site.services.settings, row.job_id)
        weights.parent.mkdir(exist_ok=True)
        weights.write_bytes(b"")
    return rows[0].id, rows[1].id


def plant_failed_export(site: GuardedSite) -> int:
    with site.services.database.writing() as session:
        session.add(ExportRow(label_id=1, status="failed", next_at=1.0))
    return 1


@pytest.fixture(scope="module")
def story(
    guarded_application: FastAPI, tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[Story]:
    data, studies = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("studies")
    shutil.copy(empty_database, data / "caclabel.sqlite")
    write_dicom(studies / "series", series_volume(1, SERIES[0], STUDY))
    with guarding(guarded_application, Settings(data=data), studies=studies) as site:
        images.scan_studies(site.services.database, site.services.settings, now=lambda: 1000.0)
        told = Story(site, studies)
        told.log_in_and_out()
        told.label()
        told.store_segmentation()
        told.use_session()
        told.learn()
        told.clear()
        yield told


def test_every_changing_route_has_its_row_or_its_reason() -> None:
    changing = {route for route in ROUTES if route[0] not in SAFE_METHODS}
    assert changing == CHANGES.keys() | WITHOUT_A_ROW.keys()
    assert not CHANGES.keys() & WITHOUT_A_ROW.keys()


@pytest.mark.parametrize("route", sorted(CHANGES))
def test_a_change_is_in_the_trail_with_who_made_it(story: Story, route: Route) -> None:
    rows = [row for row in story.rows[route] if row.action == CHANGES[route]]
    assert rows, [row.action for row in story.rows[route]]
    for row in rows:
        assert row.actor == ADMIN
        assert row.subject
        assert row.change.get("means") or row.action == "log in"


def test_a_sample_is_written_down_with_who_got_it_and_one_that_is_given_back_once(
    story: Story,
) -> None:
    rows = story.rows["POST", "/activelearning/{strategy}"]
    assert [(row.action, row.subject) for row in rows] == [
        ("serve sample", SERIES[0]),
        ("skip sample", SERIES[0]),
        ("serve sample", "case_1"),
        ("serve sample", "case_2"),
    ]
    assert rows[0].change["strategy"] == rows[1].change["strategy"] == "first"
    assert rows[0].change["lease"] == 1


def test_names_of_files_that_are_not_kept_are_not_in_the_trail(story: Story) -> None:
    trail = story.site.client.get("/audit?limit=1000", headers=story.site.as_role(Role.ADMIN)).text
    assert "open session" in trail
    assert "Curie" not in trail
