"""The mirror against a fresh load, after any sequence of changes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, select, update

from app.intake import pool_mirror
from app.intake.pool_mirror import PoolMirror
from app.store.database import Database
from app.store.tables import (
    ActivationRow,
    ImageRow,
    LabelRow,
    LeaseRow,
    ModelVersionRow,
    PredictionRow,
)
from tests.app.intake.mirrored import facts
from tests.app.pool import KEY, add_image, add_prediction, label_row

IDS = tuple("abcde")

image_ids = st.sampled_from(IDS)

template = Path(tempfile.mkdtemp(prefix="caclabel-mirror-")) / "migrated.sqlite"


@pytest.fixture(scope="module", autouse=True)
def migrated(migrated_file: Path) -> Iterator[None]:
    shutil.copyfile(migrated_file, template)
    yield
    shutil.rmtree(template.parent)


@pytest.fixture(autouse=True)
def nothing_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_mirror, "_OVERLAP", 0)
    monkeypatch.setattr(pool_mirror, "_RECOUNT_S", 0)


class MirrorMachine(RuleBasedStateMachine):
    """Change the database in every way the product does, and compare."""

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="caclabel-mirror-"))
        shutil.copyfile(template, self.folder / "a.sqlite")
        self.database = Database(f"sqlite:///{self.folder / 'a.sqlite'}")
        self.mirror = PoolMirror(KEY)
        self.time = 0.0
        for image_id in "abcd":
            self.register(image_id, "p")
        self.scan({"d"}, set())
        for _ in range(2):
            self.train()
            self.predict(set("ab"), back=0, uncertainty=self.time, key=KEY)

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            shutil.rmtree(self.folder)

    @contextmanager
    def change(self) -> Iterator[Any]:
        self.time += 1.0
        with self.database.writing() as session:
            yield session

    @rule(image_id=image_ids, patient=st.sampled_from(["p", "q", ""]))
    def register(self, image_id: str, patient: str) -> None:
        with self.change() as session:
            if session.get(ImageRow, image_id) is None:
                add_image(session, image_id, patient=patient, at=self.time // 8)

    @rule(lost=st.sets(image_ids, max_size=1), found=st.sets(image_ids, max_size=1))
    def scan(self, lost: set[str], found: set[str]) -> None:
        with self.change() as session:
            is_missing = ImageRow.missing_since.is_not(None)
            back = update(ImageRow).where(ImageRow.id.in_(found - lost), is_missing)
            gone = update(ImageRow).where(ImageRow.id.in_(lost), ~is_missing)
            session.execute(back.values(missing_since=None))
            session.execute(gone.values(missing_since=self.time))

    @rule(
        ids=st.sets(image_ids),
        tag=st.sampled_from(["final", "final", "original"]),
        annotator=st.sampled_from(["", "anna"]),
    )
    def label(self, ids: set[str], tag: str, annotator: str) -> None:
        with self.change() as session:
            registered = set(session.scalars(select(ImageRow.id)))
            for image_id in sorted(ids & registered):
                row = label_row(
                    image_id, tag, version=int(self.time), annotator=annotator, at=self.time
                )
                session.add(row)

    @rule(ids=st.sets(image_ids))
    def delete_labels(self, ids: set[str]) -> None:
        with self.change() as session:
            shown = update(LabelRow).where(
                LabelRow.image_id.in_(ids), LabelRow.deleted_at.is_(None)
            )
            session.execute(shown.values(deleted_at=self.time))

    @rule()
    def train(self) -> None:
        with self.change() as session:
            session.execute(update(ModelVersionRow).values(is_active=False))
            facts = {"sha256": "", "card": {}, "label_count": 1, "created_at": self.time}
            row = ModelVersionRow(job_id=str(self.time), is_active=True, **facts)
            session.add(row)
            session.flush()
            session.add(ActivationRow(model_version_id=row.id, at=self.time))

    @rule(back=st.integers(0, 1))
    def activate(self, back: int) -> None:
        with self.change() as session:
            versions = session.scalars(select(ModelVersionRow).order_by(ModelVersionRow.id)).all()
            session.execute(update(ModelVersionRow).values(is_active=False))
            versions[-1 - back].is_active = True
            session.add(ActivationRow(model_version_id=versions[-1 - back].id, at=self.time))

    @rule(
        ids=st.sets(image_ids),
        back=st.integers(0, 1),
        uncertainty=st.floats(0, 9),
        key=st.sampled_from([KEY, "other"]),
    )
    def predict(self, ids: set[str], back: int, uncertainty: float, key: str) -> None:
        with self.change() as session:
            versions = session.scalars(
                select(ModelVersionRow.id).order_by(ModelVersionRow.id)
            ).all()
            version = versions[-1 - back]
            known = select(PredictionRow.image_id).where(
                PredictionRow.model_version_id == version, PredictionRow.key == key
            )
            registered = set(session.scalars(select(ImageRow.id)))
            for image_id in sorted(ids & registered - set(session.scalars(known))):
                add_prediction(session, image_id, version, uncertainty=uncertainty, key=key)

    @rule(ids=st.sets(image_ids))
    def replace_files(self, ids: set[str]) -> None:
        with self.change() as session:
            session.execute(delete(PredictionRow).where(PredictionRow.image_id.in_(ids)))

    @rule(ids=st.sets(image_ids), patient=st.sampled_from(["p", "q"]))
    def regroup(self, ids: set[str], patient: str) -> None:
        with self.change() as session:
            chosen = update(ImageRow).where(ImageRow.id.in_(ids))
            session.execute(chosen.values(patient_key=patient))

    @rule(image_id=image_ids)
    def serve(self, image_id: str) -> None:
        with self.change() as session:
            if session.get(ImageRow, image_id) is not None:
                lease = {"strategy": "s", "client_id": "c", "served_at": self.time}
                lease |= {"expires_at": self.time, "released_at": self.time, "outcome": "expired"}
                active = select(ModelVersionRow.id).where(ModelVersionRow.is_active)
                lease |= {"model_version_id": session.scalar(active)}
                session.add(LeaseRow(image_id=image_id, **lease))

    @invariant()
    def mirror_is_what_a_fresh_load_gives(self) -> None:
        if not hasattr(self, "database"):
            return
        with self.database.engine.connect() as connection:
            mirrored = self.mirror.pool(connection)
            fresh = PoolMirror(KEY).pool(connection)
        assert facts(mirrored) == facts(fresh)


MirrorMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, derandomize=True
)
TestMirror = MirrorMachine.TestCase
