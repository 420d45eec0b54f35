"""`selfreward capability`: a panel of abilities, by lm-eval."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from selfreward.cli.output import stdout, write_json


def capability(
    tokenizer: Annotated[Path, typer.Option(help="Checkpoint folder of the served model, for its tokenizer.")],
    panel: Annotated[str, typer.Option(help="small, paper, or a file of lm-eval's (--config).")] = "small",
    out: Annotated[Path, typer.Option(help="File for the figures.")] = Path("capability.json"),
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Such a file of an earlier model: show the changes, alarm where one fell.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each task, for a try.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask through the model's chat template.")] = False,
) -> None:
    """Measure the served model on a panel of tasks by lm-eval, through the generator's OpenAI API.

    Example: selfreward capability --panel paper --tokenizer models/base --out m2.json --against m1.json

    Exit status: 0, 1 an ability fell, 2 a mistake or a panel that failed.
    """
    from selfreward.evaluation.models.capability import measure_capability
    from selfreward.settings import Settings, key_of

    settings = Settings()
    before = json.loads(against.read_text()) if against else {}
    report = measure_capability(settings.generator_url, key_of(settings), panel, tokenizer, limit, chat, before)
    write_json(out, report)
    _show(report)
    typer.echo(str(out))
    if any(change["alarm"] for change in report["changes"].values()):
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    """Print every task, and its change where there is an earlier report."""
    table = Table("task", "metric", "%", "standard error", "samples", "change", "")
    for task, figure in report["tasks"].items():
        change = report["changes"].get(task)
        moved = ""
        if change:
            moved = f"{100 * change['change']:+.1f}"
            if change["low"] is not None:
                moved += rf" \[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
        error = "" if figure["stderr"] is None else f"{100 * figure['stderr']:.1f}"
        alarm = "ALARM" if change and change["alarm"] else ""
        samples = str(figure["samples"] or "")
        table.add_row(task, figure["metric"], f"{100 * figure['value']:.1f}", error, samples, moved, alarm)
    stdout.print(table)
