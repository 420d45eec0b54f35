"""`selfreward win-rate`: one model's answers against another's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from selfreward.cli.options import Policy, Resamples, Seed
from selfreward.cli.output import stderr, stdout, write_json, write_rows

if TYPE_CHECKING:
    from selfreward.client.judge_inputs import JudgeOptions

_LABELS = {
    "win_rate": "win rate, a tie is half",
    "length_controlled_win_rate": "win rate, length controlled",
    "win": "wins",
    "tie": "ties",
    "lose": "losses",
    "longer_wins": "the longer answer wins",
    "unscored": "undecided",
}


def win_rate(
    answers: Annotated[Path, typer.Argument(help="The model's answers, .jsonl or .parquet.")],
    baseline: Annotated[Path, typer.Argument(help="The baseline's answers to the same prompts.")],
    rubric: Annotated[str, typer.Option(help="One of the judge's rubrics, comparing or scoring.")] = "pairwise",
    votes: Annotated[int, typer.Option(min=1, max=64, help="Verdicts for each order, or for each answer.")] = 1,
    policy: Policy = None,
    seed: Seed = None,
    out: Annotated[Path, typer.Option(help="Name of the two files written, without .json and .jsonl.")] = Path(
        "win-rate"
    ),
    resamples: Resamples = 1000,
) -> None:
    """Judge a model's answers against a baseline's: win rate, raw and with the part of the length taken out.

    Files are what a run writes (runs/<run>/evaluation/<model>/samples.jsonl or greedy.jsonl in the artifact store), or
    rows of prompt and response. A rubric that compares sees both orders, and a disagreement is a tie; by one that
    scores the higher score wins. The rubric arena gives verdicts in five steps, and so an arena score too.

    Written: OUT.json with every figure, and OUT.jsonl with every duel and its verdicts.

    The judge at SELFREWARD_JUDGE_URL asks the generator, where --policy freezes the judging version, or any
    OpenAI-compatible engine at its SELFREWARD_JUDGE_ENGINE_URL.

    Example: selfreward win-rate M2/greedy.jsonl M1/greedy.jsonl --rubric pairwise --out reports/m2-m1
    """
    from selfreward.client.judge_sync import reachable_judge
    from selfreward.evaluation.bootstrap import Bootstrap
    from selfreward.evaluation.models.win_rate import measure_win_rate
    from selfreward.progress import RunProgress

    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    with reachable_judge() as client, RunProgress(stderr) as progress:
        report, rows = measure_win_rate(client, answers, baseline, options, Bootstrap(resamples), progress.show)
    files = Path(f"{out}.json"), Path(f"{out}.jsonl")
    write_json(files[0], report)
    write_rows(files[1], rows)
    _show(report)
    typer.echo(f"{files[0]} {files[1]}")


def _show(report: dict[str, Any]) -> None:
    """Print the figures as a table, lengths and warnings after it."""
    title = f"{report['answers']} against {report['baseline']}\n{report['duels']:,} duels, {report['rubric']}"
    table = Table("figure", "%", "95 % interval", title=title, title_justify="left")
    figures = report["figures"]
    for name, label in _LABELS.items():
        figure = figures[name]
        if figure["value"] is None:
            table.add_row(label, "none", "")
        else:
            table.add_row(label, f"{figure['value']:.1%}", f"{figure['low']:.1%} to {figure['high']:.1%}")
    stdout.print(table)
    if "arena" in report:
        arena = report["arena"]
        interval = f"{arena['low']:.1%} to {arena['high']:.1%}" if arena["value"] is not None else ""
        stdout.print(f"arena score {arena['value'] or 0:.1%}, 5 to 95 % {interval}", highlight=False)
    lengths = [figures[name]["value"] for name in ("mean_length", "mean_length_baseline")]
    stdout.print(f"mean length {lengths[0]:.0f} characters, the baseline's {lengths[1]:.0f}", highlight=False)
    for warning in report["warnings"]:
        stdout.print(f"warning: {warning}", markup=False, style="yellow")
