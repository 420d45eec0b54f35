"""Write a run's report as JSON, Markdown and HTML."""

import json
from pathlib import Path

from selfreward.evaluation.report.html import render_html
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.markdown import render_markdown
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.transcripts import transcripts
from selfreward.loop import paths
from selfreward.store.artifacts import ArtifactStore


def write_report(store: ArtifactStore, run: str, out: Path | None = None) -> list[str]:
    """Write `runs/<run>/report.{json,md,html}` into the store, and into the folder `out` too; returns the names.

    Raises ReportError when the run's artifacts are missing or contradict each other.
    """
    data = load_run(store, run)
    resamples = data.record.recipe.get("evaluation", {}).get("bootstrap", 1000)
    report = build_report(data, resamples=resamples)
    contents = {
        "json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        "md": render_markdown(report),
        "html": render_html(report, transcripts(data)),
    }
    for ending, text in contents.items():
        store.write_bytes(paths.report(run, ending), text.encode())
    if out is not None:
        copies = ArtifactStore(str(out))
        for ending, text in contents.items():
            copies.write_bytes(f"report.{ending}", text.encode())
    return [paths.report(run, ending) for ending in contents]
