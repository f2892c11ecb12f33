from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from app.errors import ConflictError
from app.store import database

_MIGRATIONS = Path(database.__file__).with_name("migrations")


def test_versions_of_older_servers_answered_one_after_the_other(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        for number in (1, 2, 3):
            columns = "id, job_id, sha256, card, label_count, is_active, reason, created_at"
            values = f"{number}, 'job-{number}', '', '{{}}', 1, {number == 3:d}, '', {number}.5"
            connection.execute(text(f"INSERT INTO model_versions ({columns}) VALUES ({values})"))
        command.upgrade(config, "head")
        rows = connection.execute(
            text("SELECT id, model_version_id, below_id, at FROM activations ORDER BY id")
        )
        # So that an older deployment, too, can go back to what it had.
        assert [tuple(row) for row in rows] == [(1, 1, None, 1.5), (2, 2, 1, 2.5), (3, 3, 2, 3.5)]
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    opened = database.Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    opened.migrate()
    with opened.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConflictError, match=r"9999.*install the newer version, or restore"):
        opened.migrate()
    opened.close()


def test_shares_that_too_few_samples_cannot_tell_become_unknown(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'old.sqlite'}")
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        for number in (2, 3, 4, 20):
            connection.execute(text(_PREDICTION), {"key": f"v2 samples={number} seed=0 rule=a"})
        command.upgrade(config, "head")
        rows = connection.execute(text("SELECT lesion_share, region_share FROM predictions"))
        known, unknown = (0.25, 0.5), (None, None)
        assert [tuple(row) for row in rows] == [unknown, unknown, known, known]
        # The mirror of the pool learns of deleted predictions by a trigger of the table.
        connection.execute(text("DELETE FROM predictions"))
        assert connection.scalar(text("SELECT id FROM pool_changes")) == 5
    engine.dispose()


_PREDICTION = (
    "INSERT INTO predictions (image_id, model_version_id, key, sha256, scores, agatston_samples,"
    " agatston, clinical_uncertainty, lesion_uncertainty, region_uncertainty, has_candidates,"
    " embedding, seconds, created_at, lesion_share, region_share)"
    " VALUES ('a', 1, :key, '', '{}', '[]', 0, 0, 0, 0, 1, '', 0, 0, 0.25, 0.5)"
)
"""A prediction as a server before revision 0010 kept it; no key is followed here."""
