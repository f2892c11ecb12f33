"""Charts of a simulation, as SVG without any link to the outside."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.simulation.analysis import PRIMARY, Analysis, ArmResult
from app.simulation.plan import JOINT, RANDOM
from app.simulation.synthetic import STRATA

_INK: Final = "#1d2733"
_GREY: Final = "#8a94a0"
_PALE: Final = "#e4e7eb"

_COLORS: Final = (
    "#2563a8", "#c2571a", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#16808a", "#7f6a55",
    "#d6679e", "#5b7c2e",
)  # fmt: skip

_AXIS_TITLES: Final = {
    "images": "labeled scans",
    "lesions": "labeled lesions",
    "seconds": "hours of a person's time",
}

_SECONDS_PER_HOUR: Final = 3600.0


def learning_curves(analysis: Analysis) -> bytes:
    """Draw the primary figure of each strategy over scans, lesions and hours; returns an SVG."""
    with _style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        reference = analysis.references.get(JOINT)
        for axes, axis in zip(panels, _AXIS_TITLES, strict=True):
            for arm, color in _colored(analysis.strategies()):
                _curve(axes, arm, axis, color)
            if reference is not None:
                level = reference.last(PRIMARY)[0]
                axes.axhline(level, color=_GREY, linestyle="--", linewidth=1)
                axes.annotate(
                    f"all {analysis.pool} labels",
                    (1.0, level),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="right",
                    fontsize=8,
                    color=_GREY,
                )
            axes.set_xlabel(_AXIS_TITLES[axis])
            axes.grid(axis="y", color=_PALE)
            axes.set_xlim(left=0)
        panels[0].set_ylabel("calcium volume F1, unseen patients")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=6, frameon=False)
        return _svg(figure)


def gains(arms: Sequence[ArmResult], baseline: str) -> bytes:
    """Draw the gain of each arm over its baseline with its interval; returns an SVG."""
    shown = sorted(
        (arm for arm in arms if arm.gain is not None),
        key=lambda arm: arm.gain.value if arm.gain is not None else 0.0,
    )
    with _style():
        figure = Figure(figsize=(8.0, 0.8 + 0.34 * len(shown)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0.0, color=_INK, linewidth=1)
        for place, arm in enumerate(shown):
            gain = arm.gain
            if gain is None:
                continue
            is_clear = gain.lower > 0 or gain.upper < 0
            color = _COLORS[0] if is_clear else _GREY
            axes.hlines(place, gain.lower, gain.upper, color=color, linewidth=3, alpha=0.5)
            axes.plot([gain.value], [place], "o", color=color)
        axes.set_yticks(range(len(shown)), [arm.name for arm in shown])
        axes.set_xlabel(f"area under the learning curve against {baseline}, 95 % interval")
        axes.grid(axis="x", color=_PALE)
        return _svg(figure)


def strata(analysis: Analysis) -> bytes | None:
    """Draw the primary figure in each stratum, random and all labels; None without strata."""
    arms = [arm for arm in analysis.strategies() if STRATA.keys() <= arm.strata.keys()]
    arms = [arm for arm in arms if arm.name == RANDOM] + sorted(
        (arm for arm in arms if arm.name != RANDOM), key=lambda arm: -arm.area
    )[:2]
    arms += [one for name, one in analysis.references.items() if name == JOINT]
    if not arms:
        return None
    with _style():
        figure = Figure(figsize=(8.0, 3.2), layout="constrained")
        axes = figure.subplots()
        width = 0.8 / len(arms)
        for number, arm in enumerate(arms):
            values = [[getattr(one, PRIMARY) for one in arm.strata[name]] for name in STRATA]
            means = [float(np.mean(one)) for one in values]
            errors = [float(np.std(one)) for one in values]
            places = np.arange(len(STRATA)) + (number - (len(arms) - 1) / 2) * width
            color = _GREY if arm.name == RANDOM else _COLORS[number]
            axes.bar(places, means, width * 0.92, yerr=errors, color=color, label=arm.name)
        axes.set_xticks(range(len(STRATA)), list(STRATA))
        axes.set(ylabel="calcium volume F1", ylim=(0, 1))
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return _svg(figure)


def _curve(axes: Axes, arm: ArmResult, axis: str, color: str) -> None:
    x = arm.spent[axis] / (_SECONDS_PER_HOUR if axis == "seconds" else 1.0)
    y = arm.curves[PRIMARY].mean(axis=0)
    is_baseline = arm.name == RANDOM
    if is_baseline and arm.curves[PRIMARY].shape[0] > 1:
        error = arm.curves[PRIMARY].std(axis=0, ddof=1) / np.sqrt(arm.curves[PRIMARY].shape[0])
        axes.fill_between(x, y - error, y + error, color=color, alpha=0.15, linewidth=0)
    axes.plot(
        x,
        y,
        color=color,
        label=arm.name,
        marker="o",
        markersize=4,
        linewidth=2.6 if is_baseline else 1.6,
        zorder=3 if is_baseline else 2,
    )


def _colored(arms: Sequence[ArmResult]) -> Iterator[tuple[ArmResult, str]]:
    number = 0
    for arm in arms:
        if arm.name == RANDOM:
            yield arm, _INK
        else:
            yield arm, _COLORS[number % len(_COLORS)]
            number += 1


@contextmanager
def _style() -> Iterator[None]:
    with mpl.rc_context(
        {
            "font.size": 10,
            "axes.edgecolor": _GREY,
            "axes.labelcolor": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "svg.fonttype": "path",
            # The same figure gives the same bytes.
            "svg.hashsalt": "caclabel",
        }
    ):
        yield


def _svg(figure: Figure) -> bytes:
    buffer = BytesIO()
    # Without a date the same figure gives the same bytes.
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
