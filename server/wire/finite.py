"""Values that every client can read: JSON knows neither NaN nor infinity."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """Leave out what is None, NaN or infinite; 3D Slicer calculates with what it finds."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items() if _is_telling(item)}
    if isinstance(value, list):
        return [finite(item) for item in value if _is_telling(item)]
    return value


def _is_telling(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
