"""The sections by name, in the order they are printed."""

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, cast

from app.errors import NotFoundError
from server.bench.figures import Section
from server.bench.scale import Scale

LONG: Final = frozenset({"learning", "uncertainty"})
"""Take ten minutes each, for they train a network; measured only on request."""

_MODULES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "polling": "polling",
        "next-sample": "next_sample",
        "rescan": "rescan",
        "scoring": "scoring",
        "clicks": "clicks",
        "prediction-cost": "prediction_cost",
        "learning": "learning",
        "uncertainty": "uncertainty",
    }
)


class _Module(Protocol):
    def measure(self, scale: Scale) -> Section:
        """Measure one section."""


def section_names() -> tuple[str, ...]:
    """Return the names of all sections."""
    return tuple(_MODULES)


def measure(name: str, scale: Scale) -> Section:
    """Measure a section; only its module is imported, because some need PyTorch.

    Raises:
        NotFoundError: If there is no such section.
    """
    if name not in _MODULES:
        raise NotFoundError(f"no section {name!r}; known: {', '.join(_MODULES)}")
    # Threads that spin while they wait starve the others; workers run with the same settings.
    # OpenMP reads them once, when PyTorch is imported.
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0")
    module = importlib.import_module(f"server.bench.{_MODULES[name]}")
    return cast("_Module", module).measure(scale)
