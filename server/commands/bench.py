"""``caclabel bench``: measures what docs/benchmarks.md says."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from server.bench.figures import Section, as_json, as_text
from server.bench.machine import load_text, machine_facts
from server.bench.markdown import as_markdown
from server.bench.scale import Scale, quick_scale
from server.bench.sections import LONG, measure, section_names
from server.demo.narration import Narrator
from server.page_section import rewrite_around_section

DESCRIPTION: Final = "measure latencies, costs and learning on this machine"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to measure and where to write it."""
    parser.add_argument(
        "--only", action="append", choices=section_names(), help="a section; may be repeated"
    )
    parser.add_argument(
        "--learning",
        action="store_true",
        help="also train on 40 synthetic patients, twice, which takes about twenty minutes",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, only to see that it works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page for docs/")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    narrator = Narrator(sys.stderr)
    facts = {**machine_facts(), "load average before": load_text()}
    names = chosen_sections(arguments.only, with_long=arguments.learning)
    with tempfile.TemporaryDirectory(prefix="caclabel-bench-") as folder:
        kind = quick_scale if arguments.quick else Scale
        sections = _measure(names, kind(Path(folder), narrator), narrator)
    facts["load average after"] = load_text()
    if arguments.quick:
        facts["scale"] = "quick: small sizes, the figures mean nothing"
    print(as_text(sections))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(sections, facts), indent=2), encoding="utf-8")
    if arguments.markdown:
        rewrite_around_section(arguments.markdown, as_markdown(sections, facts))
    return 0


def chosen_sections(only: list[str] | None, *, with_long: bool) -> list[str]:
    """Return the sections to measure, in their order."""
    if only:
        return [name for name in section_names() if name in only]
    return [name for name in section_names() if with_long or name not in LONG]


def _measure(names: list[str], scale: Scale, narrator: Narrator) -> list[Section]:
    sections = []
    for name in names:
        narrator.say(f"measuring {name}")
        sections.append(measure(name, scale))
    return sections
