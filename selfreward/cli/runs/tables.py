"""The report of a run as tables of at most 80 columns."""

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from selfreward.evaluation.report.findings.changes import BEST_OF_N, GREEDY, SAMPLED, steps
from selfreward.evaluation.report.findings.sentences import in_short
from selfreward.evaluation.report.transcripts import Transcript

_SOLVED = (SAMPLED, GREEDY, BEST_OF_N)


def show_report(report: dict[str, Any], console: Console, shown: Sequence[Transcript] = ()) -> None:
    """Print models, gains, head-to-head comparisons and rounds of a report, then the answers in `shown`.

    Tables that nothing was measured for are left out, as most are without an independent checker.
    """
    _show_models(report, console)
    # What changed, and what that comes to.
    changes = {(entry["a"], entry["b"]): entry for entry in report["differences"]}
    gains = _table("gains, points", "models", "sampled", "greedy", "best of n", "gain")
    for gain in report["gains"]:
        change = changes[gain["a"], gain["b"]]
        gains.add_row(f"{gain['a']} - {gain['b']}", *(_interval(change[name]) for name in _SOLVED), gain["kind"])
    if gains.rows:
        console.print(gains)
    for sentence in in_short(report):
        style = "bold red" if sentence.startswith("ALARM") else None
        console.print(sentence, markup=False, highlight=False, style=style)
    # Head-to-head comparisons.
    names = steps([model["name"] for model in report["models"]])
    duels = _table("head to head, by the independent checker", "models", "win %", "tie %", "lose %")
    for duel in report["comparisons"]:
        if (duel["a"], duel["b"]) in names:
            outcomes = (_interval(duel[outcome]) for outcome in ("win", "tie", "lose"))
            duels.add_row(f"{duel['a']} vs {duel['b']}", *outcomes)
    if duels.rows:
        console.print(duels)
    # Rounds.
    rounds = _table("rounds", "round", "prompts", "pairs", "ties", "unscored", "gap", "rollout s", "train s", "eval s")
    for entry in report["iterations"]:
        seconds = entry["seconds"]
        rounds.add_row(
            entry["stage"],
            *(str(entry[name]) for name in ("prompts", "pairs", "ties", "unscored")),
            _plain(entry["chosen_rejected_gap"], 1, 2),
            *(f"{seconds[name]:.0f}" for name in ("rollout", "train", "evaluate")),
        )
    if rounds.rows:
        console.print(rounds)
    # What the models write.
    for transcript in shown:
        console.print(f"[bold]{escape(transcript.prompt)}[/bold]", highlight=False)
        for line in transcript.lines:
            points = "-" if line.checker is None else f"{line.checker}"
            answer = escape(textwrap.shorten(line.answer, 90, placeholder=" ..."))
            console.print(f"  {line.model:<4} {points} points  {answer}", highlight=False)


def _show_models(report: dict[str, Any], console: Console) -> None:
    """What the models solve, by a checker if there is one, and how they judge and write."""
    solved = _table("solved, by the independent checker", "model", "sampled %", "greedy %", "best of n %")
    judges = _table("judge right, and texts", "model", "own answers %", "fixed %", "length", "unread %", "cut off %")
    for model in report["models"]:
        checker, own, fixed = (model[section] or {} for section in ("checker", "judge", "judge_fixed"))
        solved.add_row(model["name"], *(_interval(checker.get(name)) for name in _SOLVED))
        judges.add_row(
            model["name"],
            *(_interval(judge.get("pairwise_accuracy")) for judge in (own, fixed)),
            _plain(model["mean_length"], 1),
            _plain(model["parse_failure_rate"]),
            _plain(model["truncated_rate"]),
        )
    if any(model["checker"] for model in report["models"]):
        console.print(solved)
    console.print(judges)


def _plain(figure: dict[str, Any] | None, scale: float = 100.0, digits: int = 1) -> str:
    """The value of a `{value, low, high, n}` figure, or a dash."""
    if figure is None or figure.get("value") is None:
        return "-"
    return f"{figure['value'] * scale:.{digits}f}"


def _interval(figure: dict[str, Any] | None) -> str:
    """The value of a share in percent, with its interval."""
    if figure is None or figure.get("value") is None:
        return "-"
    return f"{_plain(figure)} [dim]\\[{100 * figure['low']:.1f},{100 * figure['high']:.1f}][/dim]"


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1), header_style="bold underline"
    )
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table
