"""Options as clients send them: every value may come as text, and unknown keys are left out.

3D Slicer and OHIF show options in tables of text fields, so that a number may arrive as a
number, as text or as an empty text, and a choice as a text or as a list with it in front.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, JsonValue

from app.access.identity import acting_name
from app.errors import InvalidInputError

Option = bool | int | float | str | list[str]
"""Default of an option; a list holds the choices, its first item is the default."""

Options = Mapping[str, Option]
"""Declared options by name."""

_DEEPEST: Final = 32
"""Most levels of JSON; what clients send has four. Every later step goes down all of them."""

_LONGEST_NUMBER: Final = 10**15
"""Whole numbers from here on are no count, index or seed, and some steps cannot take them."""


def check_json(value: object, deepest: int = _DEEPEST) -> None:
    """Refuse JSON that no later step could keep, calculate with or answer.

    Raises:
        ValueError: If it is nested too deeply, or holds a huge number or one that JSON does not
            know (NaN), a NUL or half a character.
    """
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, int) and abs(value) >= _LONGEST_NUMBER:
        raise ValueError("expected whole numbers of at most 15 digits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected finite numbers")
    elif isinstance(value, dict | list):
        if deepest == 0:
            raise ValueError(f"expected JSON of at most {_DEEPEST} levels")
        for each in value:
            check_json(each, deepest - 1)
        for each in value.values() if isinstance(value, dict) else ():
            check_json(each, deepest - 1)


def _checked(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    check_json(value)
    return value


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("expected text without NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("expected text of whole characters, got a lone surrogate") from None


JsonObject = Annotated[dict[str, JsonValue], AfterValidator(_checked)]
"""A JSON object as a client sent it."""

DEFAULT_CLIENT: Final = "unknown"
"""Who did it when a client does not say who it is."""

_LONGEST_NAME: Final = 256
"""Most characters of the name of a client."""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def read_options(declared: Options, given: Mapping[str, JsonValue]) -> JsonObject:
    """Return a value for every declared option: the given one, else its default.

    Raises:
        InvalidInputError: If a value cannot be read as the kind of its default.
    """
    return {name: _read(name, default, given.get(name)) for name, default in declared.items()}


def read_object(text: str, place: str) -> JsonObject:
    """Read a JSON object from the text of a form field; an empty text is an empty object.

    Raises:
        InvalidInputError: If the text is not a JSON object, or one that ``check_json`` refuses.
    """
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise InvalidInputError(f"{place}: expected a JSON object, got {text[:40]!r}") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{place}: expected a JSON object, got {text[:40]!r}")
    try:
        check_json(value)
    except ValueError as error:
        raise InvalidInputError(f"{place}: {error}") from None
    return value


def client_of(given: Mapping[str, JsonValue]) -> str:
    """Return who sent the options; clients that do not say are one.

    Who had to log in is who they are, whatever name they give.

    Raises:
        InvalidInputError: If the name holds half a character, a NUL, or is too long.
    """
    client = str(given.get("client_id") or DEFAULT_CLIENT)
    try:
        _check_text(client)
    except ValueError as error:
        raise InvalidInputError(f"client_id: {error}") from None
    if len(client) > _LONGEST_NAME:
        raise InvalidInputError(f"client_id: expected at most {_LONGEST_NAME} characters")
    return acting_name(client)


def _read(name: str, default: Option, value: JsonValue) -> JsonValue:
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None or value == "":
        return default[0] if isinstance(default, list) else default
    try:
        return _convert(default, value)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{name}: expected {_expected(default)}, got {value!r}") from None


def _convert(default: Option, value: JsonValue) -> JsonValue:
    """Read ``value`` as the kind of ``default``; ValueError if it is none."""
    if isinstance(default, bool):
        if (text := str(value).lower()) not in _BOOLEANS:
            raise ValueError
        return _BOOLEANS[text]
    if isinstance(default, list):
        if value not in default:
            raise ValueError
        return value
    if isinstance(default, str):
        text = str(value)
        text.encode()  # A lone surrogate is a ValueError.
        return text
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError
    if isinstance(default, float):
        return number
    if not number.is_integer():
        raise ValueError
    return int(number)


def _expected(default: Option) -> str:
    if isinstance(default, list):
        return f"one of {', '.join(default)}"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return kinds[type(default)]
