"""Charts of the report, as SVG without any link to the outside."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from server.demo.comparison import Comparison
from server.demo.records import RoundRecord

INK: Final = "#1d2733"
BLUE: Final = "#2563a8"
ORANGE: Final = "#c2571a"
GREY: Final = "#8a94a0"

_ABOVE_PT: Final = 6
_BELOW_PT: Final = -13
"""Where the value of a point is written, in points from it."""

_ROOM: Final = 1.15
"""Axes reach so far beyond the largest value."""


def learning_curve(rounds: Sequence[RoundRecord]) -> bytes:
    """Draw agreement, error and correction effort over the number of labels; returns an SVG."""
    with _style():
        figure = Figure(figsize=(10.4, 3.3), layout="constrained")
        agreement, error, effort = figure.subplots(1, 3)
        counts = [one.label_count for one in rounds]
        figures = [one.judgement.figures for one in rounds]
        f1 = [one.volume_f1 for one in figures]
        icc = [one.agatston_icc for one in figures]
        _curve(agreement, counts, f1, "calcium volume F1", BLUE, other=icc)
        _curve(agreement, counts, icc, "Agatston ICC", ORANGE, other=f1)
        lowest = min(0.0, *icc)
        agreement.set(title="agreement on unseen patients", ylim=(lowest - 0.05, 1.05))
        agreement.legend(frameon=False, loc="lower right")
        _curve(error, counts, [one.agatston_mae for one in figures], "", BLUE)
        error.set(title="mean error of the Agatston score")
        error.set_ylim(0, max(one.agatston_mae for one in figures) * _ROOM or 1)
        shown = [one for one in rounds if one.changed_voxels is not None]
        changed = [one.changed_voxels or 0.0 for one in shown]
        # The labels of a round are corrected with the model of the round before.
        before = [one.label_count - len(one.labels) for one in shown]
        _curve(effort, before, changed, "", BLUE)
        effort.set(title="calcium voxels to correct per image")
        effort.set_ylim(0, max(changed, default=0.0) * _ROOM or 1)
        for axes in (agreement, error, effort):
            axes.set_xlabel("labels the model was trained on")
            axes.set_xlim(0, max(counts) * _ROOM)
            axes.grid(axis="y", color="#e4e7eb")
        return _svg(figure)


def score_chart(comparisons: Sequence[Comparison]) -> bytes:
    """Draw found over true Agatston scores with the spread of the samples; returns an SVG."""
    with _style():
        figure = Figure(figsize=(5.2, 4.6), layout="constrained")
        axes = figure.subplots()
        true = np.array([one.true_agatston for one in comparisons])
        found = np.array([one.found_agatston for one in comparisons])
        top = max(float(true.max()), float(found.max()), 1.0) * 2
        axes.plot([0, top], [0, top], color=GREY, linewidth=1, linestyle="--", label="equal")
        spread = [one.interval or (one.found_agatston,) * 2 for one in comparisons]
        low, high = zip(*spread, strict=True)
        axes.vlines(true, low, high, color=BLUE, alpha=0.35, linewidth=4, label="5-95 % of samples")
        axes.scatter(true, found, color=BLUE, s=26, zorder=3, label="prediction")
        _risk_bounds(axes, top)
        for set_scale in (axes.set_xscale, axes.set_yscale):
            set_scale("symlog", linthresh=10, linscale=0.6)
        ticks = [tick for tick in (0, 10, 100, 400, 1000, 4000) if tick <= top]
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.set_yticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.set(xlim=(-1, top), ylim=(-1, top))
        axes.set(xlabel="true Agatston score", ylabel="found Agatston score")
        axes.legend(frameon=False, loc="upper left")
        return _svg(figure)


@contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.edgecolor": GREY,
            "axes.labelcolor": INK,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "svg.fonttype": "path",
            # The same figure gives the same bytes.
            "svg.hashsalt": "caclabel",
        }
    ):
        yield


def _curve(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    color: str,
    *,
    other: Sequence[float] | None = None,
) -> None:
    """Draw a line with its values, on the side that is away from the ``other`` line, or above."""
    axes.plot(x, y, color=color, marker="o", linewidth=2, label=label)
    for at, value, beside in zip(x, y, y if other is None else other, strict=True):
        text = f"{value:.2f}" if abs(value) < 2 else f"{value:.0f}"
        axes.annotate(
            text,
            (at, value),
            xytext=(0, _ABOVE_PT if value >= beside else _BELOW_PT),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=color,
        )


def _risk_bounds(axes: Axes, top: float) -> None:
    """Draw the bounds of the risk categories."""
    for bound in (10, 100, 400):
        if bound < top:
            axes.axvline(bound, color="#e4e7eb", zorder=0)
            axes.axhline(bound, color="#e4e7eb", zorder=0)


def _svg(figure: Figure) -> bytes:
    buffer = BytesIO()
    # Without a date the same figure gives the same bytes.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
