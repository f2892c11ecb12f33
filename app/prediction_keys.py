"""Which stored predictions may be compared: those made the way the settings say now."""

from typing import Final

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app import model_versions
from app.settings import Settings
from app.store.tables import PredictionRow

_SCORER: Final = "2"
"""Version of everything between a network's output and a row; rows of another one are stale."""


def prediction_key(settings: Settings) -> str:
    """Return what two predictions of one model version must share to be comparable."""
    masks = f"samples={settings.samples} seed={settings.seed}"
    return f"v{_SCORER} {masks} rule={settings.rule} mass={settings.mass_factor:g}"


def discard_stale(session: Session, settings: Settings, *, now: float) -> int:
    """Delete the predictions made under other settings and queue them to be made again.

    Runs before a process answers or works, so that no table and no ranking mixes rules.

    Returns:
        Number of predictions deleted.
    """
    stale = delete(PredictionRow).where(PredictionRow.key != prediction_key(settings))
    session.flush()
    count = session.connection().execute(stale).rowcount
    if count:
        model_versions.request_scoring(session, now=now)
    return count
