"""``caclabel demo``: an annotator played against a real server, with a report at the end."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from server.commands.phantom import parse_size
from server.demo.narration import Narrator
from server.demo.plan import DemoPlan
from server.demo.report import REPORT_NAME
from server.demo.run import run_demo, table_lines

DESCRIPTION: Final = "play the whole loop on synthetic patients and write a report"

_EXIT_INTERRUPTED: Final = 130
"""Exit code of a program that was stopped by Ctrl-C, as shells have it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the folder and the size of the demonstration."""
    plan = DemoPlan()
    default = "default: %(default)s"
    parser.add_argument("out", type=Path, help="folder for the report and everything else")
    parser.add_argument("--seed", type=int, default=plan.seed, metavar="S", help=default)
    parser.add_argument("--rounds", type=int, default=plan.rounds, metavar="N", help=default)
    parser.add_argument(
        "--size",
        type=parse_size,
        default=plan.size,
        metavar="XxYxZ",
        help=f"voxels of a volume (default: {plan.size_text})",
    )
    parser.add_argument(
        "--pool", type=int, default=plan.pool, metavar="N", help=f"patients to label; {default}"
    )
    parser.add_argument(
        "--test", type=int, default=plan.test, metavar="N", help=f"patients to test on; {default}"
    )
    parser.add_argument(
        "--epochs", type=int, default=plan.epochs, metavar="N", help=f"per training; {default}"
    )
    parser.add_argument(
        "--profile", choices=("small", "paper"), default=plan.profile, help=f"network; {default}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Play the demonstration; the server is ended however this ends."""
    plan = DemoPlan(
        seed=arguments.seed,
        size=arguments.size,
        pool=arguments.pool,
        test=arguments.test,
        rounds=arguments.rounds,
        epochs=arguments.epochs,
        profile=arguments.profile,
    )
    narrator = Narrator(sys.stderr)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        record = run_demo(plan, arguments.out, narrator)
    except KeyboardInterrupt:
        narrator.say("stopped; nothing is left running")
        return _EXIT_INTERRUPTED
    narrator.say(f"done in {record.total_s / 60:.1f} minutes")
    print("\n".join(table_lines(record)))
    print(f"\nreport: {(arguments.out / REPORT_NAME).resolve()}")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
