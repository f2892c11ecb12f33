"""What is said, to a terminal and into a log."""

from io import StringIO

from server.demo.narration import Narrator


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_begin_with_the_time_since_the_start() -> None:
    stream, clock = StringIO(), Clock()
    narrator = Narrator(stream, clock)
    clock.now += 125.0
    narrator.say("training")
    assert stream.getvalue() == "[ 2:05] training\n"


def test_a_log_gets_progress_every_ten_seconds() -> None:
    stream, clock = StringIO(), Clock()
    narrator = Narrator(stream, clock)
    for step in range(25):
        narrator.progress(f"step {step}")
        clock.now += 1.0
    # At 0, 10 and 20 seconds.
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["0", "10", "20"]


def test_a_terminal_sees_progress_in_one_line_that_is_written_over() -> None:
    stream, clock = Terminal(), Clock()
    narrator = Narrator(stream, clock)
    narrator.progress("step 1")
    narrator.progress("step 2")
    assert "\n" not in stream.getvalue()
    narrator.say("done")
    # The line of progress is erased before the line that stays.
    assert stream.getvalue().endswith("step 2\r\x1b[K[ 0:00] done\n")


def test_a_line_of_progress_never_wraps() -> None:
    stream, clock = Terminal(), Clock()
    Narrator(stream, clock).progress("x" * 1000)
    assert len(stream.getvalue().removeprefix("\r\x1b[K")) < 1000
