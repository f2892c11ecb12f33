"""JSON as every database keeps it."""

import json
import math


def json_text(value: object) -> str:
    """Write a value as JSON; numbers that JSON does not know (NaN, infinity) become null.

    SQLite keeps them as Python spells them, PostgreSQL refuses the whole row: a training that
    diverged, or a label of a folder that was imported, would be lost over a figure.
    """
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_known(value))


def _known(value: object) -> object:
    if isinstance(value, dict):
        return {key: _known(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
