"""`selfreward judge-attacks`: try the attack suite on a live judge."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from selfreward.cli.options import Policy, Rubric, Seed, Votes
from selfreward.cli.output import stderr, stdout, write_json

if TYPE_CHECKING:
    from selfreward.client.judge_inputs import JudgeOptions


def judge_attacks(
    rubric: Rubric = "additive5",
    votes: Votes = 3,
    policy: Policy = None,
    seed: Seed = None,
    cases: Annotated[
        Path | None, typer.Option(help="Rows of prompt and a weak response to attack with, .jsonl or .parquet.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the report here, as JSON.")] = None,
) -> None:
    """Try the attack suite on the judge that is running, and say how often a score rose.

    Each attack is appended to a few weak answers. Give your own with --cases when the rubric is for a special task.

    Example: selfreward judge-attacks --rubric additive5 --votes 5 --out attacks.json
    """
    from selfreward.client.judge_sync import reachable_judge
    from selfreward.evaluation.bootstrap import Bootstrap
    from selfreward.evaluation.judge.attacks import load_attacks, load_cases, try_attacks
    from selfreward.progress import RunProgress

    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    weak = load_cases(cases)
    with reachable_judge() as client, RunProgress(stderr) as progress:
        report = try_attacks(client, load_attacks(), weak, options, progress.show, Bootstrap())
    if out is not None:
        write_json(out, report)
    _show(report)


def _show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    table = Table("target", "family", "tried", "unscored", "rose", "95 % interval", "mean change")
    for row in report["families"]:
        rose, change = row["rose"], row["mean_change"]
        cells = ["none", "", ""]
        if rose["value"] is not None:
            cells = [f"{rose['value']:.0%}", f"{rose['low']:.0%} to {rose['high']:.0%}", f"{change['value']:+.2f}"]
        table.add_row(row["target"], row["family"], str(row["tried"]), str(row["unscored"]), *cells)
    stdout.print(table)
    stdout.print(
        f"{report['rubric']} by {report['judge_version']}. A rise says that this model at these settings was moved, by "
        "the words or by chance: compare with the first line. It says nothing about another model.",
        markup=False,
    )
