"""The report of a demo run as one screen of tables."""

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selfreward.evaluation.report.transcripts import Transcript


def show_report(path: Path, console: Console, shown: Sequence[Transcript] = ()) -> None:
    """Print models, head-to-head comparisons and rounds of a report.json, then the answers in `shown`."""
    # Models.
    report = json.loads(path.read_text())
    solved = ("sampled %", "greedy %", "best of n %")
    models = _table("models", "solved:", *solved, "judge right %", "tau-b", "length", "unparsed %")
    for model in report["models"]:
        checker, judge = model["checker"] or {}, model["judge"] or {}
        models.add_row(
            model["name"],
            _interval(checker.get("solve_rate")),
            _plain(checker.get("solve_rate_greedy")),
            _plain(checker.get("solve_rate_best_of_n")),
            _interval(judge.get("pairwise_accuracy")),
            _plain(judge.get("kendall_tau_b"), 1, 2),
            _plain(model["mean_length"], 1),
            _plain(model["parse_failure_rate"]),
        )
    console.print(models)
    # Head-to-head comparisons.
    duels = _table("head to head, by the independent checker", "models", "win %", "tie %", "lose %")
    for duel in report["comparisons"]:
        duels.add_row(f"{duel['a']} vs {duel['b']}", *(_interval(duel[outcome]) for outcome in ("win", "tie", "lose")))
    console.print(duels)
    # Rounds.
    rounds = _table(
        "rounds", "trained", "prompts", "pairs", "ties", "unscored", "gap", "rollout s", "train s", "eval s"
    )
    for entry in report["iterations"]:
        seconds = entry["seconds"]
        rounds.add_row(
            entry["stage"],
            *(str(entry[name]) for name in ("prompts", "pairs", "ties", "unscored")),
            _plain(entry["chosen_rejected_gap"], 1, 2),
            *(f"{seconds[name]:.0f}" for name in ("rollout", "train", "evaluate")),
        )
    console.print(rounds)
    # What the models write.
    for transcript in shown:
        console.print(f"[bold]{escape(transcript.prompt)}[/bold]", highlight=False)
        for line in transcript.lines:
            points = "-" if line.checker is None else f"{line.checker}"
            answer = escape(textwrap.shorten(line.answer, 90, placeholder=" ..."))
            console.print(f"  {line.model:<4} {points} points  {answer}", highlight=False)
    console.print(f"report: {path.with_suffix('.html')}", highlight=False, soft_wrap=True)


def _plain(figure: dict[str, Any] | None, scale: float = 100.0, digits: int = 1) -> str:
    """The value of a `{value, low, high, n}` figure, or a dash."""
    if figure is None or figure.get("value") is None:
        return "-"
    return f"{figure['value'] * scale:.{digits}f}"


def _interval(figure: dict[str, Any] | None) -> str:
    """The value of a share in percent, with its interval."""
    if figure is None or figure.get("value") is None:
        return "-"
    return f"{_plain(figure)} [dim]\\[{100 * figure['low']:.1f}, {100 * figure['high']:.1f}][/dim]"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
