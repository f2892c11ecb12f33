"""Make synthetic cardiac CT with the labels of an oracle."""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from app.calcium.phantom.pool import IMAGES, ORACLE, write_pool

DESCRIPTION: Final = "make synthetic cardiac CT, with labels in a folder beside the images"

_DEFAULT_SIZE: Final = (512, 512, 40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare folder, number, seed, size and format."""
    parser.add_argument("out", type=Path, help="folder for images, oracle and phantoms.csv")
    parser.add_argument("-n", "--count", type=int, default=1, metavar="N", help="how many phantoms")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    parser.add_argument(
        "--size",
        type=parse_size,
        default=_DEFAULT_SIZE,
        metavar="XxYxZ",
        help="voxels to the left, to the back and to the head (default: 512x512x40)",
    )
    parser.add_argument("--dicom", action="store_true", help="write DICOM series, not .nii.gz")


def run(arguments: argparse.Namespace) -> int:
    """Write the phantoms, one line of progress on standard error each."""
    out: Path = arguments.out
    names = write_pool(
        out,
        count=arguments.count,
        seed=arguments.seed,
        size=arguments.size,
        dicom=arguments.dicom,
    )
    for number, name in enumerate(names, start=1):
        sys.stderr.write(f"{number}/{arguments.count} {name}\n")
    print(f"images in {out / IMAGES}, labels in {out / ORACLE}")
    return 0


def parse_size(text: str) -> tuple[int, int, int]:
    """Read a size like ``512x512x40``.

    Raises:
        argparse.ArgumentTypeError: If it is anything else.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size like 512x512x40, got {text!r}")
    x, y, z = (int(part) for part in match.groups())
    return x, y, z
