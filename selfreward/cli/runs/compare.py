"""`selfreward compare`: runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table as ScreenTable

from selfreward.cli.options import Artifacts, Policy, Resamples, Seed
from selfreward.cli.output import stdout, write_json

if TYPE_CHECKING:
    from selfreward.evaluation.report.cells import Table

_LABEL_WIDTH, _CELL_WIDTH = 22, 24


def compare(
    runs: Annotated[list[str], typer.Argument(help="Run ids, or paths of runs' folders in local artifact stores.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md, compare.json and compare.svg.")] = None,
    rubric: Annotated[
        str | None, typer.Option(help="Win rates by the configured judge with this rubric, not by the checker.")
    ] = None,
    policy: Policy = None,
    seed: Seed = None,
    artifacts: Artifacts = None,
    resamples: Resamples = 1000,
) -> None:
    """Put runs side by side: solve rate, judge accuracy, win rates against M1, length, pair yield, time.

    Example: selfreward compare countdown-0 dno-0 spin-0 --out reports/methods
    """
    from selfreward.client.judge_sync import reachable_judge
    from selfreward.evaluation.bootstrap import Bootstrap
    from selfreward.evaluation.models.compare import compared, find_run, live_judge
    from selfreward.evaluation.models.compare_report import markdown, notes, plot, table
    from selfreward.settings import Settings

    root = artifacts or Settings().artifacts
    bootstrap = Bootstrap(resamples)
    loaded = [find_run(run, root) for run in runs]
    if rubric is None:
        entries = [compared(data, bootstrap) for data in loaded]
    else:
        with reachable_judge() as client:
            judge = live_judge(client, rubric, policy, seed)
            entries = [compared(data, bootstrap, judge) for data in loaded]
    remarks = notes(loaded, entries)
    if out is not None:
        report = {"bootstrap": {"resamples": resamples, "seed": 0, "level": 0.95}, "notes": remarks, "runs": entries}
        write_json(out / "compare.json", report)
        (out / "compare.md").write_text(markdown(entries, remarks))
        (out / "compare.svg").write_text(plot(entries))
    _show(table(entries), remarks)
    if out is not None:
        typer.echo(" ".join(str(out / f"compare.{suffix}") for suffix in ("md", "json", "svg")))


def _show(table: "Table", notes: Sequence[str]) -> None:
    """Print the table, a column for each run: as many beside each other as the terminal is wide."""
    together = max(1, (stdout.width - _LABEL_WIDTH) // _CELL_WIDTH)
    for start in range(0, len(table.rows), together):
        shown = table.rows[start : start + together]
        screen = ScreenTable("", *(row[0] for row in shown), box=box.SIMPLE_HEAD, pad_edge=False)
        for place, label in enumerate(table.columns[1:], 1):
            screen.add_row(label, *(row[place].replace("[", r"\[") for row in shown))
        stdout.print(screen)
    for note in [table.note, *notes]:
        stdout.print(note, markup=False, highlight=False, style="dim")
