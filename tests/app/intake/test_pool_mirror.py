"""The mirror of the pool, change by change."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, update

from app.intake import pool_mirror
from app.intake.pool_mirror import PoolMirror
from app.model_versions import activate
from app.store.database import Database
from app.store.tables import ImageRow, LabelRow, PredictionRow
from tests.app.intake.mirrored import facts
from tests.app.pool import KEY, SETTINGS, add_image, add_model_version, add_prediction, label_row


@pytest.fixture(autouse=True)
def nothing_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_mirror, "_OVERLAP", 0)
    monkeypatch.setattr(pool_mirror, "_RECOUNT_S", 0)


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
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    shutil.copyfile(migrated_file, tmp_path / "a.sqlite")
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


def test_flags_what_is_spoilt_and_sees_it_measured_anew(database: Database) -> None:
    with database.writing() as session:
        add_image(session, "noisy", at=0.0, noise_sd_hu=31.0)
        add_image(session, "unknown", at=1.0)
    mirror = PoolMirror(KEY)

    def flags() -> list[bool] | None:
        with database.engine.connect() as connection:
            flags = mirror.pool(connection).candidates.has_artefact
        return None if flags is None else flags.tolist()

    assert flags() == [True, False]
    with database.writing() as session:
        values = {"noise_sd_hu": 12.0, "metal_mm3": 300.0}
        session.execute(update(ImageRow).where(ImageRow.id == "unknown").values(values))
    assert flags() == [True, True]


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
            measure = mirror.pool(connection).candidates.clinical_uncertainty
        known: list[float] = np.nan_to_num(measure, nan=-1.0).tolist()
        return known

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
