"""`selfreward report`: a run's report."""

from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.options import Artifacts, RunName


def report(
    run: RunName,
    artifacts: Artifacts = None,
    out: Annotated[Path | None, typer.Option(help="Also write the three files into this folder.")] = None,
) -> None:
    """Write a run's report into the artifact store: report.json, report.md and report.html.

    Every figure has its 95 % bootstrap interval. With the labels of an independent checker the report says how good the
    answers are; without, only what the judge thinks of them.

    Example: selfreward report countdown-0 --out reports/countdown-0

    Exit status: 0 written, 2 a run that cannot be reported on.
    """
    from selfreward.evaluation.report.write import write_report
    from selfreward.settings import Settings
    from selfreward.store.artifacts import ArtifactStore

    for name in write_report(ArtifactStore(artifacts or Settings().artifacts), run, out):
        typer.echo(name)
