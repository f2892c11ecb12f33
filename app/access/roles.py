"""The four roles of MONAI Label; each may do all that the ones before it may."""

from enum import StrEnum


class Role(StrEnum):
    """What somebody may do, from least to most."""

    USER = "user"
    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Tell whether this role may do all that ``other`` may."""
        return self in _UP_FROM[other]

    def all_included(self) -> list["Role"]:
        """Return this role and those below it, the least first."""
        return [role for role in Role if self.includes(role)]


_ORDER = tuple(Role)
_UP_FROM = {role: frozenset(_ORDER[place:]) for place, role in enumerate(_ORDER)}


def lower(first: Role, second: Role) -> Role:
    """Return the role of the two that may do less."""
    return second if first.includes(second) else first
