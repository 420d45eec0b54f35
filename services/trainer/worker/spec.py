"""The spec in a job's folder: what all of its processes read, on every node."""

import shutil
from pathlib import Path

from selfreward.contracts.training import TrainJob
from services.trainer.worker.progress import PROGRESS_NAME

SPEC_NAME = "spec.json"


def write_spec(folder: Path, job: TrainJob) -> Path:
    """Write the spec. What an earlier job of the same id but other content left behind is removed."""
    spec = folder / SPEC_NAME
    text = job.model_dump_json(indent=1)
    if folder.exists() and not (spec.exists() and spec.read_text() == text):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS_NAME).unlink(missing_ok=True)
    spec.write_text(text)
    return spec
