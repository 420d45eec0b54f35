"""The plot of a judge's measurement: accuracy and bias, calibration, accuracy by score gap, what a score means."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfreward.evaluation.report.plots import BLUE, GREY, ORANGE, STYLE, svg_text

_SHARES = {
    "pairwise_accuracy": "pairwise accuracy, ties wrong",
    "pairwise_accuracy_ties_half": "pairwise accuracy, ties half",
    "accuracy_longer_better": "accuracy, longer is better",
    "accuracy_longer_worse": "accuracy, longer is worse",
    "longer_preferred": "judge prefers the longer",
    "longer_preferred_gold": "people prefer the longer",
    "position_consistency": "same in both orders",
    "vote_agreement": "two votes agree",
    "exact_match": "exact order",
    "five_best": "top score and human best",
    "unscored": "unscored",
}


def plot_svg(report: dict[str, Any]) -> str:
    """An SVG document of a report by `measure_judge`. Figures that were not measured are left out."""
    panels = [
        panel
        for panel, shown in (
            (_calibration, report["calibration"]),
            (_by_gap, report.get("accuracy_by_gap")),
            (_by_score, report.get("best_by_score")),
        )
        if shown
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.8, 3.6 + 3.2 * bool(panels)), layout="constrained")
        top, *rest = figure.subfigures(1 + bool(panels), 1, squeeze=False, height_ratios=[3.6, 3.2][: 1 + bool(panels)])
        _shares(top[0].subplots(), report)
        if panels:
            for panel, axes in zip(panels, rest[0][0].subplots(1, len(panels), squeeze=False)[0], strict=True):
                panel(axes, report)
        return svg_text(figure, f"judge {report['rubric']}")


def _points(axes: Axes, places: Sequence[float], figures: Sequence[dict[str, Any]], upright: bool, style: str) -> None:
    """Values in percent with their intervals, upright or lying."""
    values = [100 * figure["value"] for figure in figures]
    errors = [
        [max(0.0, value - 100 * figure["low"]) for value, figure in zip(values, figures, strict=True)],
        [max(0.0, 100 * figure["high"] - value) for value, figure in zip(values, figures, strict=True)],
    ]
    if upright:
        axes.errorbar(places, values, yerr=errors, fmt=style, color=BLUE, capsize=3, lw=1.4, ms=5)
        axes.set_ylim(0, 102)
        axes.grid(axis="y")
    else:
        axes.errorbar(values, places, xerr=errors, fmt=style, color=BLUE, capsize=3, lw=1.4, ms=5)
        axes.set_xlim(0, 102)
        axes.grid(axis="x")


def _shares(axes: Axes, report: dict[str, Any]) -> None:
    figures = report["figures"]
    shown = [name for name in _SHARES if (figures.get(name) or {}).get("value") is not None]
    _points(axes, range(len(shown)), [figures[name] for name in shown], False, "o")
    axes.axvline(50, color=GREY, lw=1)
    axes.set_yticks(range(len(shown)), [_SHARES[name] for name in shown])
    axes.invert_yaxis()
    axes.set_xlabel("%")
    axes.set_title(f"{report['rubric']}, {report['pairs']} pairs, {report['votes']} votes")


def _calibration(axes: Axes, report: dict[str, Any]) -> None:
    bins = report["calibration"]
    axes.plot([50, 100], [50, 100], color=ORANGE, lw=1)
    _points(axes, [100 * each["confidence"] for each in bins], [each["accuracy"] for each in bins], True, "o-")
    axes.set_xlabel("judge's confidence, %")
    axes.set_ylabel("right, %")
    axes.set_title("Calibration")


def _by_gap(axes: Axes, report: dict[str, Any]) -> None:
    _steps(axes, report["accuracy_by_gap"], "distance of the scores, up to", "right, %", "Accuracy by score gap")


def _by_score(axes: Axes, report: dict[str, Any]) -> None:
    _steps(axes, report["best_by_score"], "score", "human best, %", "What a score means")


def _steps(axes: Axes, figures: dict[str, Any], x: str, y: str, title: str) -> None:
    shown = {name: figure for name, figure in figures.items() if figure["value"] is not None}
    _points(axes, range(len(shown)), list(shown.values()), True, "o-")
    axes.set_xticks(range(len(shown)), list(shown))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)
