"""Figures of many runs or methods in one plot: a row for each, a panel for each figure, a point with its interval."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure

from selfreward.evaluation.report.plots import BLUE, GREEN, GREY, ORANGE, STYLE, svg_text

COLOURS = (BLUE, ORANGE, GREEN, "#8657a5", "#b0413e")


class Panel(NamedTuple):
    """A figure to draw: its title, what it is multiplied with, and where a line stands for no difference."""

    title: str
    scale: float = 1.0
    line: float | None = None


class Dot(NamedTuple):
    """A point: `figure` is `{value, low, high}` or None, `before` M1's value of it, drawn as a tick."""

    figure: dict[str, Any] | None
    before: float | None = None


Row = tuple[str, Sequence[Sequence[Dot]]]
"""A row's name and its points: for each panel one for each series, which are seeds where there are several."""


def dot_plot(rows: Sequence[Row], panels: Sequence[Panel], series: Sequence[str], title: str) -> str:
    """One SVG document on white, so that it can stand in any page. A panel in which no row has a value is left out."""
    shown = [
        place
        for place in range(len(panels))
        if any(dot.figure and dot.figure["value"] is not None for _, dots in rows for dot in dots[place])
    ]
    width = max(len(series), 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 2.5 * len(shown), 1.2 + (0.2 + 0.16 * width) * len(rows)), layout="constrained")
        axes_of = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0] if shown else []
        for axes, place in zip(axes_of, shown, strict=True):
            panel = panels[place]
            if panel.line is not None:
                axes.axvline(panel.line, color=GREY, lw=1)
            for number, (_, dots) in enumerate(rows):
                for nth, dot in enumerate(dots[place]):
                    _draw(axes, dot, number + (nth - (width - 1) / 2) * 0.7 / width, nth, panel.scale)
            axes.set_title(panel.title)
            axes.grid(axis="x")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.12)
        if shown:
            axes_of[0].set_yticks(range(len(rows)), [name for name, _ in rows])
            axes_of[0].set_ylim(len(rows) - 0.5, -0.5)
        if shown and len(series) > 1:
            marks = [axes_of[0].plot([], [], "o", color=COLOURS[n % len(COLOURS)], ms=5)[0] for n in range(width)]
            figure.legend(marks, list(series), loc="outside lower center", ncols=width)
        text = svg_text(figure, title)
    head, _, rest = text.partition(">")
    return f'{head} style="background: #fff">{rest}'


def _draw(axes: Any, dot: Dot, y: float, nth: int, scale: float) -> None:
    colour = COLOURS[nth % len(COLOURS)]
    if dot.before is not None:
        axes.plot([dot.before * scale], [y], "|", color="#6c737d", ms=9, mew=1.6)
    if dot.figure is None or dot.figure["value"] is None:
        return
    value, low, high = (
        None if dot.figure[key] is None else dot.figure[key] * scale for key in ("value", "low", "high")
    )
    error = None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar([value], [y], xerr=error, fmt="o", color=colour, capsize=2.5, lw=1.4, ms=5)
