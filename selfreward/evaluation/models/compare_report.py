"""Runs side by side, as a table, a plot and Markdown."""

from collections.abc import Sequence
from typing import Any

from selfreward.evaluation.models.compare import BASELINE, same_m1
from selfreward.evaluation.models.dot_plot import Dot, Panel, dot_plot
from selfreward.evaluation.report.cells import DASH, Table, number, percent
from selfreward.evaluation.report.inputs import RunData
from selfreward.evaluation.report.markdown import table_markdown

PANELS = (
    Panel("solved, %", 100),
    Panel("judge right, %", 100),
    Panel("win rate against M1, %", 100, 50),
    Panel("… length controlled, %", 100, 50),
    Panel("characters"),
)
_COLUMNS = (
    "run",
    "method",
    "model",
    "solved %",
    "… more than M0",
    "greedy %",
    "… more than M0",
    "judge right %",
    "win rate %",
    "… length controlled %",
    "characters",
    "pair yield %",
    "minutes",
)


def table(entries: Sequence[dict[str, Any]]) -> Table:
    """A row for each run: its last model, and that model against the run's M0 and M1."""
    rows = []
    for entry in entries:
        own = entry["models"][entry["model"]]
        figures, over = (entry["against_m1"] or {}).get("figures", {}), entry["over_m0"] or {}
        rows.append(
            (
                entry["run"],
                entry["method"] or DASH,
                entry["model"],
                percent(own["solve_rate"]),
                percent(over.get("solve_rate")),
                percent(own["solve_rate_greedy"]),
                percent(over.get("solve_rate_greedy")),
                percent(own["judge_accuracy"]),
                percent(figures.get("win_rate")),
                percent(figures.get("length_controlled_win_rate")),
                number(own["mean_length"], digits=1),
                percent(entry["pair_yield"]),
                DASH if entry["minutes"] is None else f"{entry['minutes']:.1f}",
            )
        )
    by = {entry["against_m1"]["by"] for entry in entries if entry["against_m1"]}
    note = (
        "Each run's last model. Solved: sampled held-out answers, by the independent checker; greedy: the same of "
        "greedy answers; more than M0: in points, prompts resampled together. Judge right: pairwise "
        f"accuracy on the fixed human-ranked answers. Win rates: against the run's own {BASELINE}, by the "
        f"{' or the '.join(sorted(by)) or 'checker'}, a tie being half. Minutes: of the rounds after {BASELINE}."
    )
    return Table("Runs side by side", note, _COLUMNS, rows)


def plot(entries: Sequence[dict[str, Any]]) -> str:
    """An SVG document: a row for each run, M1's value as a tick."""
    return dot_plot([(entry["run"], [[dot] for dot in dots(entry)]) for entry in entries], PANELS, [], "runs")


def dots(entry: dict[str, Any]) -> list[Dot]:
    """A run's point in each of `PANELS`."""
    own, first = entry["models"][entry["model"]], entry["models"][BASELINE]
    figures = (entry["against_m1"] or {}).get("figures", {})
    rates = [Dot(own[name], (first[name] or {}).get("value")) for name in ("solve_rate", "judge_accuracy")]
    rates += [Dot(figures.get(name)) for name in ("win_rate", "length_controlled_win_rate")]
    return [*rates, Dot(own["mean_length"], first["mean_length"]["value"])]


def markdown(entries: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """The table, every model's figures, and the plot that lies beside it."""
    rows = [
        (
            entry["run"],
            name,
            percent(model["solve_rate"]),
            percent(model["solve_rate_greedy"]),
            percent(model["judge_accuracy"]),
            percent(model["judge_accuracy_own_answers"]),
            number(model["own_score"]),
            number(model["mean_length"], digits=1),
        )
        for entry in entries
        for name, model in entry["models"].items()
    ]
    columns = ("run", "model", "solved %", "greedy %", "judge, fixed %", "judge, own %", "own score", "characters")
    every = Table("Every model", "Brackets: 95 % bootstrap intervals over prompts.", columns, rows)
    parts = ["# Runs compared", *notes, table_markdown(table(entries)), "![Runs side by side](compare.svg)"]
    return "\n\n".join([*parts, table_markdown(every)]) + "\n"


def notes(runs: Sequence[RunData], entries: Sequence[dict[str, Any]]) -> list[str]:
    """What has to be said beside the table: different M1s, alarms, and win rates that are not to be trusted."""
    different = [] if same_m1(runs) else [f"The runs have different {BASELINE}s: a win rate is against the run's own."]
    alarms = [f"{entry['run']}: ALARM {alarm}." for entry in entries for alarm in entry["alarms"]]
    return (
        different
        + alarms
        + [
            f"{entry['run']}: {warning}."
            for entry in entries
            for warning in (entry["against_m1"] or {}).get("warnings", [])
        ]
    )
