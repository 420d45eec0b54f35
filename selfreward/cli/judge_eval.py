"""`selfreward judge-eval`: measure a judge on labelled answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from selfreward.cli.options import Policy, Resamples, Rubric, Seed, Votes
from selfreward.cli.output import stderr, stdout, write_json

if TYPE_CHECKING:
    from selfreward.client.judge_inputs import JudgeOptions


def judge_eval(
    file: Annotated[Path, typer.Argument(help="Labelled answers, .jsonl or .parquet.")],
    rubric: Rubric = "additive5",
    votes: Votes = 3,
    policy: Policy = None,
    seed: Seed = None,
    out: Annotated[Path, typer.Option(help="Name of the two files written, without .json and .svg.")] = Path(
        "judge-eval"
    ),
    resamples: Resamples = 1000,
    own: Annotated[
        str | None,
        typer.Option(help="The judge's own model, as the file names it: adds how far the judge prefers its answers."),
    ] = None,
) -> None:
    """Measure a judge on answers that people or a checker compared or ranked, with 95 % bootstrap intervals.

    The format is told by the columns: RewardBench and RewardBench 2 (prompt, chosen, rejected), JudgeBench (question,
    response_A, response_B, label), MT-Bench human judgments (question_id, conversation_a, conversation_b, winner,
    turn), or ranked answers (prompt, responses of text, rank and perhaps model). docs/evaluation.md has the figures.

    Written: OUT.json with every figure, and OUT.svg with accuracy, length bias, calibration, and what a score means.

    Example: selfreward judge-eval rewardbench.parquet --rubric additive5 --votes 5 --out reports/additive5
    """
    from selfreward.client.judge_sync import reachable_judge
    from selfreward.evaluation.bootstrap import Bootstrap
    from selfreward.evaluation.judge.measure import measure_judge
    from selfreward.evaluation.judge.plot import plot_svg
    from selfreward.progress import RunProgress

    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    with reachable_judge() as client, RunProgress(stderr) as progress:
        report = measure_judge(client, file, options, Bootstrap(resamples), progress.show, own)
    files = Path(f"{out}.json"), Path(f"{out}.svg")
    write_json(files[0], report)
    files[1].write_text(plot_svg(report))
    _show(report)
    typer.echo(f"{files[0]} {files[1]}")


def _show(report: dict[str, Any]) -> None:
    """Print the figures as a table."""
    table = Table("figure", "value", "95 % interval", "n", title=f"{report['rubric']} on {report['file']}")
    for name, figure in report["figures"].items():
        if figure["value"] is None:
            table.add_row(name, "none", "", "0")
        else:
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
            table.add_row(name, f"{figure['value']:.3f}", interval, str(figure["n"]))
    stdout.print(table)
    for note in report["notes"]:
        stdout.print(f"note: {note}", markup=False)
