"""The report's plots, as SVG text for an HTML page."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a8f98",
    "axes.labelcolor": "#3b4048",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": "#3b4048",
    "ytick.color": "#3b4048",
    "text.color": "#22262b",
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "legend.frameon": False,
    "legend.fontsize": 9,
}
BLUE, ORANGE, GREY, GREEN = "#2f6db3", "#d9822b", "#b9bfc7", "#3f8f5f"


def plots(report: dict[str, Any]) -> dict[str, str]:
    """SVG of each plot that has something to show, by title."""
    models, judges = report["models"], [model for model in report["models"] if model["judge_fixed"] or model["judge"]]
    solved = [
        ("sampled", "checker", "solve_rate"),
        ("greedy", "checker", "solve_rate_greedy"),
        ("best of n", "checker", "solve_rate_best_of_n"),
    ]
    accuracy = [("fixed answers", "judge_fixed", "pairwise_accuracy")]
    if any(model["judge_on"] == "samples" for model in models):
        accuracy.insert(0, ("own answers", "judge", "pairwise_accuracy"))
    with matplotlib.rc_context(STYLE):
        figures = {
            "Solved by the independent checker": _by_model(models, solved, "%", 100),
            "Judge: pairwise accuracy": _by_model(judges, accuracy, "%", 100),
            "Head to head": _head_to_head(report["comparisons"]),
            "Loop score against independent score": _goodhart(report.get("goodhart")),
            "Mean answer length": _by_model(models, [("characters", None, "mean_length")], "characters", 1, True),
            "Scores of each model's own answers": _histograms(models),
        }
        return {title: svg_text(figure, title) for title, figure in figures.items() if figure is not None}


def svg_text(figure: Figure, title: str) -> str:
    """The `<svg>` element; ids are salted with the title, so that several can stand on one page."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, sharey=True)
    return figure, list(axes[0])


def _values_and_errors(figures: Sequence[dict[str, Any]], scale: float) -> tuple[list[float], list[list[float]]]:
    """Scaled values, and how far the intervals reach below and above them, as matplotlib's error bars want it."""
    values, lows, highs = ([figure[key] * scale for figure in figures] for key in ("value", "low", "high"))
    below = [value - low for value, low in zip(values, lows, strict=True)]
    above = [high - value for value, high in zip(values, highs, strict=True)]
    return values, [below, above]


def _by_model(
    models: list[dict[str, Any]],
    series: Sequence[tuple[str, str | None, str]],
    unit: str,
    scale: float,
    from_zero: bool = False,
) -> Figure | None:
    """Points with intervals over the models in their order; each series is (label, section, figure)."""
    figure, (axes,) = _figure(5.4, 3.2)
    shift, drawn = 0.09 * (len(series) - 1), False
    for index, (label, section, name) in enumerate(series):
        measured = [(place, (model[section] or {}) if section else model) for place, model in enumerate(models)]
        points = [
            (place, values[name]) for place, values in measured if (values.get(name) or {}).get("value") is not None
        ]
        if not points:
            continue
        drawn = True
        values, errors = _values_and_errors([point for _, point in points], scale)
        places = [place - shift + 2 * shift * index / max(1, len(series) - 1) for place, _ in points]
        colour = (BLUE, ORANGE, GREEN)[index]
        axes.errorbar(places, values, yerr=errors, fmt="o-", color=colour, capsize=3, lw=1.4, ms=5, label=label)
    axes.set_xticks(range(len(models)), [model["name"] for model in models])
    axes.set_xlim(-0.5, len(models) - 0.5)
    axes.margins(y=0.15)
    if from_zero:
        axes.set_ylim(0, 1.15 * axes.dataLim.ymax)
    axes.set_ylabel(unit)
    axes.grid(axis="y")
    if drawn and len(series) > 1:
        axes.legend(loc="best")
    return figure if drawn else None


def _head_to_head(comparisons: list[dict[str, Any]]) -> Figure | None:
    """Stacked bars of win, tie and loss shares."""
    if not comparisons:
        return None
    figure, (axes,) = _figure(5.4, 0.9 + 0.34 * len(comparisons))
    names = [f"{c['a']} vs {c['b']}" for c in comparisons]
    left = [0.0] * len(comparisons)
    for outcome, colour, ink in (("win", BLUE, "white"), ("tie", GREY, "#22262b"), ("lose", ORANGE, "white")):
        widths = [c[outcome]["value"] * 100 for c in comparisons]
        bars = axes.barh(names, widths, left=left, color=colour, height=0.72, label=outcome)
        labels = [f"{width:.0f}" if width >= 5 else "" for width in widths]
        axes.bar_label(bars, labels, label_type="center", color=ink, fontsize=9)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("%")
    axes.tick_params(axis="y", length=0)
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
    return figure


def _goodhart(panel: dict[str, Any] | None) -> Figure | None:
    """Own and independent score over the models, each on its own scale; a step with an alarm is shaded in both."""
    if panel is None or len(panel["points"]) < 2:
        return None
    points = panel["points"]
    checked = panel["independent"] == "checker"
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    independent = ("checker, points", 1) if checked else ("judge on ranked answers, %", 100)
    for axes, key, (title, scale), colour in zip(
        panels, ("loop", "independent"), (("own score, points", 1), independent), (BLUE, ORANGE), strict=True
    ):
        values, errors = _values_and_errors([point[key] for point in points], scale)
        axes.errorbar(range(len(points)), values, yerr=errors, fmt="o-", color=colour, capsize=3, lw=1.4, ms=5)
        for place, point in enumerate(points):
            if any(step["alarm"] for step in point["steps"]):
                axes.axvspan(place - 0.5, place + 0.5, color="#b0413e", alpha=0.14, lw=0)
        axes.set_xticks(range(len(points)), [point["model"] for point in points])
        axes.set_xlim(-0.5, len(points) - 0.5)
        axes.margins(y=0.15)
        axes.set_title(title, fontsize=10, fontweight="normal")
        axes.grid(axis="y")
    return figure


def _histograms(models: list[dict[str, Any]]) -> Figure | None:
    """For each model the shares of scores 0..5: its own votes beside the checker's verdicts."""
    shown = [model for model in models if sum(model["histograms"]["own_votes"])]
    if not shown:
        return None
    figure, panels = _figure(10.8, 2.6, len(shown))
    for model, axes in zip(shown, panels, strict=True):
        for shift, (label, colour) in zip((-0.2, 0.2), (("own_votes", BLUE), ("checker", ORANGE)), strict=True):
            counts = model["histograms"][label]
            if counts:
                shares = [100 * count / sum(counts) for count in counts]
                places = [score + shift for score in range(len(counts))]
                axes.bar(places, shares, width=0.4, color=colour, label=label.replace("_", " "))
        axes.set_title(model["name"])
        axes.set_xticks(range(len(model["histograms"]["own_votes"])))
        axes.grid(axis="y")
    panels[0].set_ylabel("% of scores")
    panels[0].legend(loc="upper left")
    return figure
