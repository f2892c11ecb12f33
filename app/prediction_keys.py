"""Which stored predictions may be compared: those made the way the settings say now."""

from typing import Final

from app.settings import Settings

_SCORER: Final = "3"
"""Version of everything between a network's output and a row; rows of another one are stale."""


def prediction_key(settings: Settings) -> str:
    """Return what two predictions of one model version must share to be comparable."""
    masks = f"samples={settings.samples} seed={settings.seed}"
    return f"v{_SCORER} {masks} rule={settings.rule} mass={settings.mass_factor:g}"
