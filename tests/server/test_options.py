"""Options as clients send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from app.errors import InvalidInputError
from server.wire.options import Options, client_of, read_object, read_options

DECLARED: Options = {
    "epochs": 5,
    "ratio": 0.5,
    "pretrained": True,
    "note": "none",
    "mode": ["fast", "exact"],
}


def test_nothing_given_means_the_defaults() -> None:
    assert read_options(DECLARED, {}) == {
        "epochs": 5,
        "ratio": 0.5,
        "pretrained": True,
        "note": "none",
        "mode": "fast",
    }


@pytest.mark.parametrize(
    ("name", "given_value", "read"),
    [
        ("epochs", "7", 7),
        ("epochs", 7.0, 7),
        ("epochs", "", 5),
        ("epochs", None, 5),
        ("ratio", 1, 1.0),
        ("ratio", "0.25", 0.25),
        ("pretrained", "false", False),
        ("pretrained", "True", True),
        ("pretrained", 0, False),
        ("note", 3, "3"),
        ("mode", "exact", "exact"),
        # 3D Slicer puts the choice in front of the list and sends all of it.
        ("mode", ["exact", "fast"], "exact"),
        ("mode", [], "fast"),
    ],
)
def test_values_are_read_as_the_kind_of_their_default(
    name: str, given_value: JsonValue, read: JsonValue
) -> None:
    value = read_options(DECLARED, {name: given_value})[name]
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("epochs", "many", "a whole number"),
        ("epochs", 1.5, "a whole number"),
        ("epochs", "inf", "a whole number"),
        ("epochs", "nan", "a whole number"),
        ("ratio", "half", "a number"),
        ("ratio", {"a": 1}, "a number"),
        ("ratio", "nan", "a number"),
        ("pretrained", "perhaps", "true or false"),
        ("mode", "slow", "one of fast, exact"),
    ],
)
def test_a_value_of_another_kind_is_refused(
    name: str, given_value: JsonValue, expected: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"{name}: expected {expected}"):
        read_options(DECLARED, {name: given_value})


@given(st.dictionaries(st.text(), st.text()))
def test_only_declared_options_come_through(given_values: dict[str, JsonValue]) -> None:
    unknown = {name: value for name, value in given_values.items() if name not in DECLARED}
    assert read_options(DECLARED, unknown) == read_options(DECLARED, {})


@pytest.mark.parametrize("text", ["[]", "1", "null", "{", "nonsense"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="params: expected a JSON object"):
        read_object(text, "params")


def test_an_empty_field_is_an_empty_object() -> None:
    assert read_object("", "params") == {}


def test_a_client_without_a_name_has_one_all_the_same() -> None:
    assert client_of({"client_id": "u"}) == "u"
    assert client_of({"client_id": ""}) == client_of({}) == "unknown"


def test_half_characters_are_refused() -> None:
    half = "\ud800"
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        client_of({"client_id": half})
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        read_object(r'{"a": ["\ud800"]}', "params")
    with pytest.raises(InvalidInputError, match="note: expected a text"):
        read_options(DECLARED, {"note": half})


def test_too_deep_an_object_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="params: expected a JSON object"):
        read_object('{"a":' * 100_000, "params")
