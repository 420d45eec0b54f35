"""`selfreward report`: a run's report, which is also what a run ends with."""

import json
from pathlib import Path
from typing import Annotated

import typer

from selfreward.cli.options import Artifacts, RunName
from selfreward.cli.output import say, stdout


def report(
    run: RunName,
    artifacts: Artifacts = None,
    out: Annotated[Path | None, typer.Option(help="Also write the three files into this folder.")] = None,
) -> None:
    """Write a run's report into the artifact store, and print its tables: report.json, report.md and report.html.

    A run need not be finished: the report has the models that were evaluated so far. Every figure has its 95 %
    bootstrap interval. With the labels of an independent checker the report says how good the answers are; without,
    only what the judge thinks of them.

    Example: selfreward report countdown-0 --out reports/countdown-0

    Exit status: 0 written, 2 a run that cannot be reported on.
    """
    from selfreward.settings import Settings

    write_and_show(artifacts or Settings().artifacts, run, out)


def write_and_show(root: str, run: str, out: Path | None = None) -> None:
    """Write the report of a run below `root`, and print its tables and where it is. Raises ReportError."""
    from selfreward.cli.runs.tables import show_report
    from selfreward.evaluation.report.write import write_report
    from selfreward.loop import paths
    from selfreward.store.artifacts import ArtifactStore

    store = ArtifactStore(root)
    write_report(store, run, out)
    show_report(json.loads(store.read_bytes(paths.report(run, "json"))), stdout)
    record = store.read_json(paths.record(run))
    if record.get("state", "done") != "done":
        where = " ".join(filter(None, (record.get("stage"), record.get("phase"))))
        say(f"run {run} is {record['state']}{f' ({where})' if where else ''}: later models are missing")
    say(f"report: {store.path(paths.report(run, 'html'))} (and .md, .json)")
    if out is not None:
        say(f"        {out / 'report.html'}")


def show_outcome(run: str) -> None:
    """Write and show the report of a run that has just ended, or say where that can be done."""
    from selfreward.evaluation.report.inputs import ReportError
    from selfreward.settings import Settings

    root = Settings().artifacts
    try:
        write_and_show(root, run)
    except (ModuleNotFoundError, ReportError) as error:
        # A command line in a container has neither the artifacts nor, perhaps, NumPy. The run is done all the same.
        say(f"no report here ({error}): `selfreward report {run} --artifacts ROOT` makes it where the artifacts are")
