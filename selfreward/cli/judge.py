"""The command line's judge commands: judge a file, measure a judge, attack it."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import reachable_judge
from selfreward.files.judge_file import Summary, judge_file
from selfreward.files.rows import Fields
from selfreward.progress import RunProgress

commands = typer.Typer()
_out = Console()
_err = Console(stderr=True)
_INTERRUPTED = 130
_SEEDS = 2**63
"""Seeds are written beside the rows, in Parquet as 64-bit integers."""


@commands.command()
def judge(
    file: Annotated[Path, typer.Argument(help="Rows to judge, .jsonl or .parquet.")],
    out: Annotated[Path, typer.Option(help="Where the judged rows go, .jsonl or .parquet.")],
    rubric: Annotated[str, typer.Option(help="Name or id of a rubric of the judge's.")] = "additive5",
    votes: Annotated[int, typer.Option(min=1, max=64, help="Judgments sampled for each row.")] = 3,
    policy: Annotated[str | None, typer.Option(help="Judge by this version only, for example policy@3.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=-_SEEDS, max=_SEEDS - 1, help="Repeatable votes: the same seed, the same votes.")
    ] = None,
    prompt_field: Annotated[str | None, typer.Option(help="Column with the prompt.", show_default="prompt")] = None,
    response_field: Annotated[
        str | None, typer.Option(help="Column with the response.", show_default="response, else completion")
    ] = None,
) -> None:
    """Judge every row of a file, with a score and all votes beside each.

    A row has a prompt and a response (or TRL's completion), each a text or a list of messages; or only messages, whose
    last turn is judged. All other columns are kept. The whole file is checked before anything is judged.

    Stopped or crashed? The same command goes on where it was: no row is lost or judged again. A .jsonl output grows
    row by row and can be watched; a .parquet output appears when it is complete.

    Example: selfreward judge answers.jsonl --rubric additive5 --out judged.jsonl

    The judge is at SELFREWARD_JUDGE_URL (default http://127.0.0.1:8001), its key in SELFREWARD_API_KEY.

    Exit status: 0 all rows judged, 1 all judged and not one got a score, 2 a mistake or a judge that fails, 130 stopped
    by Ctrl-C.
    """
    options: JudgeOptions = {"rubric": rubric, "votes": votes, "policy": policy, "seed": seed}
    try:
        with reachable_judge() as client, RunProgress(_err) as progress:
            summary = judge_file(client, file, out, Fields(prompt_field, response_field), options, progress.show)
    except KeyboardInterrupt:
        _err.print("stopped; the same command goes on where it was", markup=False)
        raise typer.Exit(_INTERRUPTED) from None
    _show(summary, out)
    raise typer.Exit(0 if summary.scored else 1)


def _show(summary: Summary, out: Path) -> None:
    """Mean, unscored share and histogram of a judged file."""
    mean = "none" if summary.mean is None else f"{summary.mean:.3f}"
    before = f" ({summary.continued_at:,} from before)" if summary.continued_at else ""
    unscored = summary.failures.total()
    _out.print(f"{out}: {summary.rows:,} rows{before}, mean score {mean}, unscored {unscored / summary.rows:.1%}")
    table = Table("score", "rows", "share", "")
    for score, count in sorted(summary.histogram.items()):
        share = count / summary.rows
        table.add_row(str(score), f"{count:,}", f"{share:.1%}", "█" * round(30 * share))
    for kind, count in sorted(summary.failures.items()):
        table.add_row(f"none: {kind}", f"{count:,}", f"{count / summary.rows:.1%}", "")
    _out.print(table)


PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command that leaves all arguments, `--help` among them, to a module of the evaluation."""


@commands.command("judge-eval", context_settings=PASSED_ON)
def judge_eval(context: typer.Context) -> None:
    """Measure a judge on answers that people ranked: accuracy, bias, consistency, calibration (--help says more)."""
    run_evaluation("selfreward.evaluation.judge.measure", context.args)


@commands.command("judge-attacks", context_settings=PASSED_ON)
def judge_attacks(context: typer.Context) -> None:
    """Try the attack suite on a live judge and say how often a score rose (--help says more)."""
    run_evaluation("selfreward.evaluation.judge.attacks", context.args)


def run_evaluation(module: str, arguments: list[str], *also: str) -> None:
    """Run a module of the evaluation, which is an extra and which this package must not import. `also`: what else it
    imports."""
    needed = ("numpy", "matplotlib", *also)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        _err.print(f"{', '.join(missing)} missing: pip install 'selfreward[evaluation]'", markup=False)
        raise typer.Exit(2)
    raise typer.Exit(subprocess.call([sys.executable, "-m", module, *arguments]))
