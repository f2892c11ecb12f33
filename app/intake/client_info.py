"""What clients want to keep with an image or a label: JSON that everybody can read again."""

import json
import re
from typing import Final

from app.errors import InvalidInputError
from app.store.tables import Json

_MAX_BYTES: Final = 1_000_000
"""Longest info as JSON; clients send some hundred bytes."""

_REVIEW_KEYS: Final = ("status", "level", "approvedBy", "comment", "editTime")
"""What the reviewer module of 3D Slicer reads of every review without asking."""

_REVIEWED_TAG: Final = re.compile(r"final|original|[^_]+_[0-9]+")
"""Tags under which that module can read a review: it takes what follows _ for a number."""


def check_info(info: Json, error: type[InvalidInputError] = InvalidInputError) -> None:
    """Check that info can be kept, and sent to clients that know neither NaN nor half characters.

    Args:
        info: What a client sent, or what it becomes part of.
        error: What is raised.

    Raises:
        InvalidInputError: If it cannot be written as JSON, or is too long; of type ``error``.
    """
    try:
        size = len(json.dumps(info, allow_nan=False, ensure_ascii=False).encode())
    except (TypeError, ValueError, RecursionError):
        raise error(
            "expected info to be JSON with finite numbers and texts of whole characters"
        ) from None
    if size > _MAX_BYTES:
        raise error(f"expected at most {_MAX_BYTES} bytes of info, got {size}")


def check_review(info: Json, tag: str) -> None:
    """Check the verdict of a reviewer, if there is one.

    One that the reviewer module cannot read would hide every label from every reviewer.

    Raises:
        InvalidInputError: If it lacks what the clients read of it, or they cannot read it
            under this tag.
    """
    if "segmentationMeta" not in info:
        return
    review = info["segmentationMeta"]
    if not isinstance(review, dict) or not review.keys() >= set(_REVIEW_KEYS):
        raise InvalidInputError(
            f"segmentationMeta: expected an object with {', '.join(_REVIEW_KEYS)}"
        )
    if _REVIEWED_TAG.fullmatch(tag) is None:
        raise InvalidInputError(
            "segmentationMeta: expected a label with the tag final, original or version_<number>"
        )


def with_readable_review(info: Json, tag: str) -> Json:
    """Return info of another server with a verdict that the reviewer module can read, or none.

    What a verdict lacks is empty; what is no verdict at all, or stands under a tag that the
    module cannot read, is left out.
    """
    review = info.get("segmentationMeta")
    if not isinstance(review, dict) or _REVIEWED_TAG.fullmatch(tag) is None:
        return without(info, "segmentationMeta")
    return {**info, "segmentationMeta": {**dict.fromkeys(_REVIEW_KEYS, ""), **review}}


def without(info: Json, *reserved: str) -> Json:
    """Return info without the keys under which the server itself tells something."""
    return {key: value for key, value in info.items() if key not in reserved}
