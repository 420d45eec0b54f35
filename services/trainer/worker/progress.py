"""The files through which a worker and the training process that it started talk: the job's spec and its progress.

Files and not Redis, so that training goes on while Redis is away, and needs neither its address nor its password.
"""

import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfreward.contracts.training import TrainJob, TrainStatus

SPEC_NAME = "spec.json"
PROGRESS_NAME = "progress.json"
_STEP_SECONDS = 0.5


def write_spec(folder: Path, job: TrainJob) -> Path:
    """Write the job's spec into `folder`; returns its path. What another job of the same id left there is removed."""
    spec = folder / SPEC_NAME
    text = job.model_dump_json(indent=1)
    if folder.exists() and not (spec.exists() and spec.read_text() == text):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROGRESS_NAME).unlink(missing_ok=True)
    spec.write_text(text)
    return spec


class Progress:
    """A `TrainStatus` that is kept in the file `path`, which is replaced atomically at each change."""

    def __init__(self, path: Path, job_id: str) -> None:
        self._path = path
        self._started = time.monotonic()
        self._written = 0.0
        self.status = TrainStatus(id=job_id, state="running")
        self.write()

    def update(self, **changes: Any) -> None:
        """Change fields of the status and write it."""
        self.status = self.status.model_copy(update=changes)
        self.write()

    def step(self, step: int) -> None:
        """Note the step; it is written at most every half second."""
        self.status = self.status.model_copy(update={"step": step})
        if time.monotonic() - self._written >= _STEP_SECONDS:
            self.write()

    def measured(self, metrics: Mapping[str, Any]) -> None:
        """Merge the finite numbers of `metrics` into the status and write it."""
        numbers = {
            name: float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self.update(metrics={**self.status.metrics, **numbers})

    def write(self) -> None:
        """Write the status with the seconds since this attempt began."""
        self._written = time.monotonic()
        self.status = self.status.model_copy(update={"seconds": self._written - self._started})
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(self.status.model_dump_json())
        os.replace(temporary, self._path)


def read_progress(path: Path) -> TrainStatus | None:
    """The status that was written last; None before the first."""
    try:
        return TrainStatus.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
