"""The mirror against a fresh load, after any sequence of changes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import delete, select, update

from app.intake import pool_mirror
from app.intake.pool_mirror import Pool, PoolMirror
from app.model_versions import activate
from app.store.database import Database
from app.store.tables import (
    ActivationRow,
    ImageRow,
    LabelRow,
    LeaseRow,
    ModelVersionRow,
    PredictionRow,
)
from strategies.base import Candidates
from tests.app.pool import KEY, SETTINGS, add_image, add_model_version, add_prediction, label_row

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


def facts(pool: Pool) -> dict[str, Any]:
    """Everything a strategy could see, by image; patients as the set that shares the number."""
    arrays = {field.name: getattr(pool.candidates, field.name) for field in fields(Candidates)}
    patient, step = arrays.pop("patient"), arrays.pop("step")
    ids = pool.images.ids
    shared = {n: sorted(i for i, m in zip(ids, patient, strict=True) if m == n) for n in patient}
    known = {
        name: np.nan_to_num(np.asarray(array, np.float64), nan=-1.0).tolist()
        for name, array in arrays.items()
        if array is not None
    }
    return {
        "ids": ids,
        "open": [ids[place] for place in np.flatnonzero(pool.is_open)],
        "batch": [ids[place] for place in pool.batch],
        "labeled": [ids[place] for place in np.flatnonzero(pool.is_labeled)],
        "served": pool.last_served.tolist(),
        "predictions": pool.images.prediction.tolist(),
        "patient": [shared[number] for number in patient],
        "step": step,
        **known,
    }


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


def test_leased_and_unwanted_images_are_left_out(database: Database) -> None:
    with database.writing() as session:
        for at, image_id in enumerate("abc"):
            add_image(session, image_id, at=float(at))
    with database.engine.connect() as connection:
        mirror = PoolMirror(KEY)

        def offered(leased: str, unwanted: str) -> str:
            return "".join(facts(mirror.pool(connection, set(leased), set(unwanted)))["open"])

        assert offered("", "") == "abc"
        assert offered("b", "c") == "a"
        # Unwanted images are offered when nothing else is left, leased ones never.
        assert offered("a", "bc") == "bc"
        assert offered("abc", "") == ""
        assert offered("x", "y") == "abc"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    shutil.copyfile(template, tmp_path / "a.sqlite")
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    yield database
    database.close()


def set_missing(database: Database, times: dict[str, float | None]) -> None:
    with database.writing() as session:
        for image_id, at in times.items():
            session.get_one(ImageRow, image_id).missing_since = at


def offered(database: Database, mirror: PoolMirror) -> list[str]:
    with database.engine.connect() as connection:
        found: list[str] = facts(mirror.pool(connection))["open"]
    return found


def test_sees_one_image_go_while_another_comes_back(database: Database) -> None:
    with database.writing() as session:
        for at, image_id in enumerate("abc"):
            add_image(session, image_id, at=float(at))
    set_missing(database, {"a": 5.0})
    mirror = PoolMirror(KEY)
    assert offered(database, mirror) == ["b", "c"]
    # As many as before, and nothing newly registered.
    set_missing(database, {"a": None, "b": 6.0})
    assert offered(database, mirror) == ["a", "c"]


def test_remembers_the_label_of_the_newest_image_that_comes_back(database: Database) -> None:
    with database.writing() as session:
        for image_id in "abc":
            add_image(session, image_id, at=1.0)
        session.add(label_row("c"))
        session.flush()
        session.add(label_row("a"))
    # Image b keeps the newest time of all that are gone, so c seems to be a new image.
    set_missing(database, {"b": 9.0, "c": 8.0})
    mirror = PoolMirror(KEY)
    assert offered(database, mirror) == []
    set_missing(database, {"c": None})
    assert offered(database, mirror) == []


def test_forgets_predictions_that_were_deleted(database: Database) -> None:
    with database.writing() as session:
        for image_id in "ab":
            add_image(session, image_id)
        version = add_model_version(session).id
        for image_id in "ab":
            add_prediction(session, image_id, version, uncertainty=1.0)
    mirror = PoolMirror(KEY)

    def is_scored() -> list[bool]:
        with database.engine.connect() as connection:
            scored: list[bool] = mirror.pool(connection).candidates.is_scored.tolist()
        return scored

    assert is_scored() == [True, True]
    # The older one, whose place no newer one takes.
    with database.writing() as session:
        session.execute(delete(PredictionRow).where(PredictionRow.image_id == "a"))
    assert is_scored() == [False, True]
    with database.writing() as session:
        add_prediction(session, "a", version, uncertainty=2.0)
    assert is_scored() == [True, True]


def test_predictions_of_other_settings_do_not_count(database: Database) -> None:
    with database.writing() as session:
        for image_id in "ab":
            add_image(session, image_id)
        version = add_model_version(session).id
        add_prediction(session, "a", version, uncertainty=1.0)
    mirror = PoolMirror(KEY)

    def doubts() -> list[float]:
        with database.engine.connect() as connection:
            candidates = mirror.pool(connection).candidates
        return np.nan_to_num(candidates.clinical_uncertainty, nan=-1.0).tolist()

    assert doubts() == [1.0, -1.0]
    # As by a worker that runs with what the settings were before.
    with database.writing() as session:
        for image_id in "ab":
            add_prediction(session, image_id, version, uncertainty=9.0, key="other")
    assert doubts() == [1.0, -1.0]
    with database.engine.connect() as connection:
        assert PoolMirror("other").pool(connection).candidates.is_scored.all()


def test_what_was_labeled_by_hand_is_of_the_batch_until_another_version_answers(
    database: Database,
) -> None:
    with database.writing() as session:
        for image_id in "abcdef":
            add_image(session, image_id)
        session.add(label_row("a", at=1.0))
    mirror = PoolMirror(KEY)

    def batch() -> str:
        with database.engine.connect() as connection:
            return "".join(facts(mirror.pool(connection))["batch"])

    assert batch() == "a"
    with database.writing() as session:
        version = add_model_version(session).id
        activate(session, SETTINGS, version, actor="t", now=2.0, reason="")
    assert batch() == ""
    with database.writing() as session:
        session.add(label_row("b", at=3.0))
        session.add(label_row("c", "draft", annotator="anna", at=3.0))
        # A prediction, a deleted label, and one that the version may have learned from.
        session.add(label_row("d", "original", at=3.0))
        session.add(label_row("e", "draft", annotator="anna", at=3.0))
        session.add(label_row("f", at=1.5))
    assert batch() == "bce"
    with database.writing() as session:
        chosen = update(LabelRow).where(LabelRow.image_id == "e")
        session.execute(chosen.values(deleted_at=4.0))
    assert batch() == "bc"
    assert offered(database, mirror) == ["c", "d", "e"]


def test_a_few_new_scores_do_not_change_what_is_ranked(database: Database) -> None:
    ids = [f"image-{number:03d}" for number in range(210)]
    with database.writing() as session:
        for image_id in ids:
            add_image(session, image_id)
        version = add_model_version(session).id
        for image_id in ids[:200]:
            add_prediction(session, image_id, version, uncertainty=1.0)
    mirror = PoolMirror(KEY)

    def scored_after(image_ids: list[str]) -> int:
        with database.writing() as session:
            for image_id in image_ids:
                add_prediction(session, image_id, version, uncertainty=1.0)
        with database.engine.connect() as connection:
            return int(mirror.pool(connection).candidates.is_scored.sum())

    # A hundredth of 200 may change unseen; the third new score makes all three known.
    assert scored_after([]) == 200
    assert scored_after(ids[200:202]) == 200
    assert scored_after(ids[202:203]) == 203


def test_the_last_scores_of_a_pool_are_ranked_however_few(database: Database) -> None:
    ids = [f"image-{number:03d}" for number in range(202)]
    with database.writing() as session:
        for image_id in ids:
            add_image(session, image_id)
        version = add_model_version(session).id
        for image_id in ids[:200]:
            add_prediction(session, image_id, version, uncertainty=1.0)
    mirror = PoolMirror(KEY)
    with database.engine.connect() as connection:
        assert mirror.pool(connection).candidates.is_scored.sum() == 200
    with database.writing() as session:
        for image_id in ids[200:]:
            add_prediction(session, image_id, version, uncertainty=1.0)
    with database.engine.connect() as connection:
        assert mirror.pool(connection).candidates.is_scored.all()


def test_offers_an_image_whose_label_was_deleted_at_an_older_time(database: Database) -> None:
    with database.writing() as session:
        for image_id in "ab":
            add_image(session, image_id)
            session.add(label_row(image_id))
    mirror = PoolMirror(KEY)
    # The first to ask waited for the second, or the clock was set back.
    for image_id, at in (("b", 9.0), ("a", 8.0)):
        with database.writing() as session:
            chosen = update(LabelRow).where(LabelRow.image_id == image_id)
            session.execute(chosen.values(deleted_at=at))
        found = offered(database, mirror)
    assert found == ["a", "b"]


def test_a_pool_that_was_handed_out_stays_as_it_was(database: Database) -> None:
    with database.writing() as session:
        for image_id in "ab":
            add_image(session, image_id)
        version = add_model_version(session).id
        add_prediction(session, "a", version, uncertainty=1.0)
    mirror = PoolMirror(KEY)
    with database.engine.connect() as connection:
        before = mirror.pool(connection)
    known = facts(before)
    with database.writing() as session:
        add_prediction(session, "b", version, uncertainty=2.0)
        session.add(label_row("a"))
        add_image(session, "c", at=9.0)
    with database.engine.connect() as connection:
        assert facts(mirror.pool(connection)) != known
    assert facts(before) == known
