"""Options of the strategies as clients see them in tables, and as they send them."""

from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from app.errors import InvalidInputError
from server.wire.options import JsonObject, Options, read_options
from strategies.registry import get_strategy

_OF_EVERY_REQUEST: Final = ("client_id", "skip")
"""Keys that are no options of a strategy."""


def strategy_options(name: str) -> Options:
    """Return the options of a strategy with their defaults."""
    return {key: option.default for key, option in get_strategy(name).options.items()}


def read_request(name: str, given: Mapping[str, JsonValue]) -> JsonObject:
    """Read the body of a request for the next sample; numbers may come as text.

    Raises:
        InvalidInputError: If there is no such option, or its value is not the number it has to be.
    """
    declared = strategy_options(name)
    unknown = sorted(given.keys() - declared.keys() - set(_OF_EVERY_REQUEST))
    if unknown:
        known = ", ".join((*declared, *_OF_EVERY_REQUEST))
        raise InvalidInputError(f"no option {unknown[0][:60]!r} of {name}; known: {known}")
    return {**read_options(declared, given), "skip": given.get("skip")}
