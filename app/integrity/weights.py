"""Weights of model versions and the cards beside them."""

import json
from pathlib import Path

from app.integrity.findings import Report


def check_card(path: Path, sha256: str, report: Report) -> None:
    """Check that the card of a weights file is the card of these weights.

    Args:
        path: The weights.
        sha256: Their hash.
        report: Is told what is wrong.
    """
    card_path = path.with_suffix(".json")
    try:
        card = json.loads(card_path.read_bytes())
        found = card["sha256"]
    except FileNotFoundError:
        return  # Told already, as a file that a row names.
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != sha256:
        problem = "it does not describe the weights beside it; put both back from a backup"
        report.damage(f"models/{card_path.name}", problem)
