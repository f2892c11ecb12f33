"""What a check of a data folder finds: one line each, which says what to do."""

from collections.abc import Callable
from dataclasses import dataclass, field

Told = Callable[[str], None]
"""Is told how far a check is, in a few words."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        is_damage: Whether something that was given is damaged or lost; else it only is untidy.
        place: The file, row or table.
        problem: What is wrong with it, and what to do.
    """

    is_damage: bool
    place: str
    problem: str

    @property
    def line(self) -> str:
        """Return it as one line."""
        return f"{'damaged' if self.is_damage else 'note'}: {self.place}: {self.problem}"


@dataclass
class Report:
    """What was checked and what was found.

    Attributes:
        findings: What is not as it should be.
        counts: What was checked, by what it is.
    """

    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged or lost."""
        return not any(finding.is_damage for finding in self.findings)

    def damage(self, place: str, problem: str) -> None:
        """Add something that is damaged or lost."""
        self.findings.append(Finding(True, place, problem))

    def note(self, place: str, problem: str) -> None:
        """Add something that only is untidy."""
        self.findings.append(Finding(False, place, problem))

    def count(self, what: str, number: int = 1) -> None:
        """Add to the number of things that were checked."""
        self.counts[what] = self.counts.get(what, 0) + number
