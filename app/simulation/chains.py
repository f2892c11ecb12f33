"""The rounds of one arm with one seed: which training comes next, and what came of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from app.errors import InvalidInputError
from app.simulation.cases import TEST, Oracle, start_set
from app.simulation.choosing import choose
from app.simulation.judging import FIGURES, Figures, figures
from app.simulation.outcomes import PoolView, Unit, read_outcome
from app.simulation.plan import FULL, RANDOM, Arm, Task
from app.store.files import write_durably

ROUNDS, OUTCOMES = "rounds", "outcomes"
"""Folders of a simulation: a file for each round of each arm, and one for each training."""


@dataclass(frozen=True)
class Round:
    """One round of an arm.

    Attributes:
        arm: Name of the arm.
        strategy: Strategy that chose.
        training: Training arm.
        seed: Seed.
        number: Round from 0, which every arm begins with the same labels.
        places: Images of the pool whose labels were used, ascending.
        images: How many they are.
        lesions: True lesions in them.
        seconds: What the labels cost a person, by the cost model.
        outcome: Name of the training's file.
        figures: How the model was judged on the test patients.
    """

    arm: str
    strategy: str
    training: str
    seed: int
    number: int
    places: tuple[int, ...]
    images: int
    lesions: int
    seconds: float
    outcome: str
    figures: Figures

    def path(self, folder: Path) -> Path:
        """Return where the round is kept."""
        return folder / ROUNDS / f"{_file_name(self.arm)}-{self.seed}-{self.number}.json"


class Chain:
    """Walk through the rounds of an arm with one seed.

    Ask `wanted` for the training that is needed next; when its file is there, `advance`.
    """

    def __init__(self, arm: Arm, seed: int, task: Task, oracle: Oracle, folder: Path) -> None:
        """Begin with the start set, or with all labels for a reference."""
        self._arm, self._seed, self._task = arm, seed, task
        self._oracle, self._folder = oracle, folder
        self._views: list[PoolView] = []
        self._seconds = 0.0
        self._number = 0
        if arm.strategy == FULL:
            self._places = tuple(range(len(oracle.pool)))
        else:
            self._places = start_set(oracle, task.budgets[0], seed)
        self._buy(self._places, is_checked=False)
        self._skip_unmeasured()

    @property
    def is_done(self) -> bool:
        """Whether all rounds are behind."""
        rounds = 1 if self._arm.strategy == FULL else len(self._task.budgets)
        return self._number >= rounds

    @property
    def wanted(self) -> Unit:
        """The training that the next round needs."""
        is_last = self._arm.strategy == FULL or self._number == len(self._task.budgets) - 1
        return Unit(
            self._arm.training,
            self._seed,
            self._places,
            # Where rounds may be left out, no model is asked what comes next.
            predicts_pool=not is_last and self._arm.rounds is None,
            judges_strata=is_last,
        )

    def advance(self) -> Round:
        """Write down the round whose training is there, and choose the labels of the next."""
        unit = self.wanted
        outcome = read_outcome(unit.path(self._folder / OUTCOMES))
        done = self._round(unit, figures(outcome.tables[TEST]))
        write_durably(done.path(self._folder), json.dumps(asdict(done)).encode())
        if outcome.pool is not None:
            self._views.append(outcome.pool)
        self._go_on()
        self._skip_unmeasured()
        return done

    def _go_on(self) -> None:
        """Buy the labels of the next round."""
        self._number += 1
        if self.is_done:
            return
        count = self._task.budgets[self._number] - len(self._places)
        # The random draws do not look at a model, so that arms can leave rounds out.
        views = () if self._arm.strategy == RANDOM else tuple(self._views)
        before = self._places
        self._places = choose(
            self._arm.strategy, self._oracle, before, views, count, seed=self._seed
        )
        self._buy(sorted(set(self._places) - set(before)), is_checked=True)

    def _skip_unmeasured(self) -> None:
        while self._arm.rounds is not None and not self.is_done:
            if self._number in self._arm.rounds:
                return
            self._go_on()

    def _buy(self, places: Sequence[int], *, is_checked: bool) -> None:
        lesions = self._oracle.lesions[list(places)]
        self._seconds += float(self._oracle.costs.seconds(lesions, is_checked=is_checked).sum())

    def _round(self, unit: Unit, judged: Figures) -> Round:
        return Round(
            arm=self._arm.name,
            strategy=self._arm.strategy,
            training=self._arm.training,
            seed=self._seed,
            number=self._number,
            places=self._places,
            images=len(self._places),
            lesions=int(self._oracle.lesions[list(self._places)].sum()),
            seconds=round(self._seconds, 1),
            outcome=unit.name,
            figures=judged,
        )


def read_rounds(folder: Path) -> list[Round]:
    """Read the rounds of a simulation so far, by arm, seed and number.

    Raises:
        InvalidInputError: If there are none.
    """
    found = sorted(_read_all(folder), key=lambda one: (one.arm, one.seed, one.number))
    if not found:
        raise InvalidInputError("the folder holds no result of a simulation yet")
    return found


def _read_all(folder: Path) -> Iterator[Round]:
    for path in (folder / ROUNDS).glob("*.json"):
        values = json.loads(path.read_bytes())
        judged = {name: float(values["figures"][name]) for name in FIGURES}
        yield Round(**values | {"places": tuple(values["places"]), "figures": Figures(**judged)})


def _file_name(arm: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in arm)
