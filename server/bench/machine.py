"""What the figures were measured on; a figure without it is worth nothing."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

_CPU_FACTS: Final = Path("/proc/cpuinfo")


def machine_facts() -> dict[str, str]:
    """Return processor, cores, load and versions as text by name."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": f"caclabel {version('caclabel')}, torch {version('torch')}",
    }


def load_text() -> str:
    """Return how busy the machine was in the last minute, in processes."""
    return f"{os.getloadavg()[0]:.1f}"


def _processor() -> str:
    if _CPU_FACTS.exists():
        for line in _CPU_FACTS.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
