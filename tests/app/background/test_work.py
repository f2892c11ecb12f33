import threading

from app.background.work import Progress, Turns, Units, next_unit

_LONGEST_WAIT_S = 10.0


def test_other_work_waits_for_an_interactive_prediction() -> None:
    turns, passed = Turns(), threading.Event()

    def train() -> None:
        turns.give_way()
        passed.set()

    with turns.interactive():
        trainer = threading.Thread(target=train)
        trainer.start()
        # Bounded from below only: a trainer that does not wait passes at once.
        assert not passed.wait(0.05)
    assert passed.wait(_LONGEST_WAIT_S)
    trainer.join()


def test_nobody_waits_without_a_prediction() -> None:
    Turns().give_way()


def test_units_end_with_their_result() -> None:
    def count() -> Units:
        yield Progress(0.5, "half")
        return {"counted": 2}

    units = count()
    assert next_unit(units) == (Progress(0.5, "half"), {})
    assert next_unit(units) == (None, {"counted": 2})
