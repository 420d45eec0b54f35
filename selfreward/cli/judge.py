"""`selfreward judge`: judge every row of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from selfreward.cli.checkout import run_of_the_judge
from selfreward.cli.options import Policy, Rubric
from selfreward.cli.output import stderr, stdout

if TYPE_CHECKING:
    from selfreward.client.judge_inputs import JudgeOptions
    from selfreward.files.judge_file import Summary

_NO_VOTES = 3
_INTERRUPTED = 130
_SEEDS = 2**63
"""Seeds are written beside the rows, in Parquet as 64-bit integers."""


def judge(
    file: Annotated[Path | None, typer.Argument(help="Rows to judge, .jsonl or .parquet.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the judged rows go, .jsonl or .parquet.")] = None,
    rubric: Rubric = "additive5",
    votes: Annotated[int, typer.Option(min=1, max=64, help="Judgments sampled for each row.")] = 3,
    policy: Policy = None,
    seed: Annotated[
        int | None, typer.Option(min=-_SEEDS, max=_SEEDS - 1, help="Repeatable votes: the same seed, the same votes.")
    ] = None,
    prompt_field: Annotated[str | None, typer.Option(help="Column with the prompt.", show_default="prompt")] = None,
    response_field: Annotated[
        str | None, typer.Option(help="Column with the response.", show_default="response, else completion")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Put a question to the judge's engine, and say what it can do.")
    ] = False,
) -> None:
    """Judge every row of a file, with a score and all votes beside each.

    A row has a prompt and a response (or TRL's completion), each a text or a list of messages; or only messages, whose
    last turn is judged. All other columns are kept. The whole file is checked before anything is judged.

    Stopped or crashed? The same command goes on where it was: no row is lost or judged again, but for rows that got no
    vote because the engine failed. A .jsonl output grows row by row and can be watched; a .parquet output appears when
    it is complete.

    Example: selfreward judge answers.jsonl --rubric additive5 --out judged.jsonl

    The judge is at SELFREWARD_JUDGE_URL (default http://127.0.0.1:8001), its key in SELFREWARD_API_KEY.

    `selfreward judge --check` needs no judge and no file: it reads the settings that a judge would be started with
    (SELFREWARD_JUDGE_ENGINE_URL and the like). Its exit status is 0 if one can judge with the engine, else 1 or 2.

    Exit status: 0 all rows judged, 1 all judged and not one got a score, 2 a mistake or a judge that fails, 3 some rows
    got no vote because the engine failed: the same command judges them again; 130 stopped by Ctrl-C.
    """
    if check:
        raise typer.Exit(run_of_the_judge("services.judge.check_engine", "selfreward judge --check"))
    if file is None or out is None:
        stderr.print("give a FILE of rows and --out, or --check", markup=False)
        raise typer.Exit(2)

    from selfreward.client.judge_sync import reachable_judge
    from selfreward.files.judge_file import judge_file
    from selfreward.files.rows import Fields
    from selfreward.progress import RunProgress

    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    try:
        with reachable_judge() as client, RunProgress(stderr) as progress:
            summary = judge_file(client, file, out, Fields(prompt_field, response_field), options, progress.show)
    except KeyboardInterrupt:
        stderr.print("stopped; the same command goes on where it was", markup=False)
        raise typer.Exit(_INTERRUPTED) from None
    _show(summary, out)
    if summary.errors:
        count, reason = len(summary.errors), next(iter(summary.errors.values()))
        rows = f"{count:,} row has no vote" if count == 1 else f"{count:,} rows have no votes"
        message = f"{rows}, because the engine failed; the same command judges again. The first reason: {reason}"
        stderr.print(message, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(_NO_VOTES)
    raise typer.Exit(0 if summary.scored else 1)


def _show(summary: "Summary", out: Path) -> None:
    """Mean, unscored share and histogram of a judged file."""
    mean = "none" if summary.mean is None else f"{summary.mean:.3f}"
    before = f" ({summary.continued_at:,} from before)" if summary.continued_at else ""
    unscored = summary.failures.total()
    scored = f"{summary.rows:,} rows{before}, mean score {mean}, unscored {unscored / summary.rows:.1%}"
    stdout.print(f"{out}: {scored}", soft_wrap=True)
    table = Table("score", "rows", "share", "")
    for score, count in sorted(summary.histogram.items()):
        share = count / summary.rows
        table.add_row(str(score), f"{count:,}", f"{share:.1%}", "█" * round(30 * share))
    for kind, count in sorted(summary.failures.items()):
        table.add_row(f"none: {kind}", f"{count:,}", f"{count / summary.rows:.1%}", "")
    stdout.print(table)
