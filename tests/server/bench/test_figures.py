"""Numbers as text, latencies and the page of the documentation."""

import json

import pytest

from server.bench.figures import Figure, Section, as_json, as_text, latency, time_calls
from server.bench.machine import machine_facts
from server.bench.markdown import as_markdown
from server.bench.sections import section_names
from server.commands.bench import chosen_sections

SECTION = Section("scoring", "Calcium scoring", "One patient.", (Figure("all", 41.27, "ms", "x"),))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (41.27, "ms", "41.3 ms"),
        (1234.5, "ms", "1234 ms"),
        (0.8123, "", "0.812"),
        (-0.5, "", "-0.500"),
        (0.0, "", "0"),
        (3.14159, "x", "3.14 x"),
        (0.00042, "s", "0.000 s"),
    ],
)
def test_numbers_have_three_digits(value: float, unit: str, text: str) -> None:
    assert Figure("", value, unit).text == text


def test_latency_is_median_and_95th_percentile_in_milliseconds() -> None:
    # 1 to 101 ms: the middle one is 51, five are above 96.
    median, high = latency("call", [ms / 1000 for ms in range(1, 102)])
    assert [median.value, high.value] == pytest.approx([51.0, 96.0])
    assert (median.unit, median.note) == ("ms", "101 calls")


def test_calls_are_made_and_timed_one_by_one() -> None:
    made: list[int] = []
    seconds = time_calls(lambda: made.append(1), 3)
    assert (len(made), len(seconds)) == (3, 3)
    assert min(seconds) >= 0.0


def test_text_for_a_terminal_aligns_the_numbers() -> None:
    two = Section("s", "Title", "On this.", (Figure("a", 1.0, "s"), Figure("long", 20.0, "s")))
    assert as_text([two]).splitlines() == [
        "Title",
        "  On this.",
        "  a         1.00 s",
        "  long      20.0 s",
    ]


def test_page_has_machine_figures_and_what_was_not_measured() -> None:
    page = as_markdown([SECTION], {"cores": "2"})
    assert "| cores | 2 |" in page
    assert "| all | 41.3 ms | x |" in page
    left_out = "polling, next-sample, rescan, clicks, prediction-cost, learning, uncertainty"
    assert f"Not measured in this run: {left_out}." in page


def test_json_holds_the_bare_numbers() -> None:
    text = json.dumps(as_json([SECTION], machine_facts()))
    assert json.loads(text)["sections"][0]["figures"][0]["value"] == 41.27


def test_the_long_section_is_measured_only_on_request() -> None:
    assert "learning" not in chosen_sections(None, with_long=False)
    assert chosen_sections(None, with_long=True) == list(section_names())


def test_chosen_sections_keep_their_order() -> None:
    assert chosen_sections(["learning", "polling"], with_long=False) == ["polling", "learning"]
