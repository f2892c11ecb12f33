"""JSON as every database keeps it."""

import json
import math

import pytest

from app.store.json_text import json_text


@pytest.mark.parametrize("value", [{"a": [1, 2.5, "x", None, True]}, [], "text", {"a": {"b": []}}])
def test_plain_values_stay_as_they_are(value: object) -> None:
    assert json.loads(json_text(value)) == value


def test_numbers_that_json_does_not_know_become_null() -> None:
    value = {"loss": math.nan, "best": [1.0, math.inf, (-math.inf, {"f1": math.nan})]}
    expected = {"loss": None, "best": [1.0, None, [None, {"f1": None}]]}
    assert json.loads(json_text(value)) == expected
