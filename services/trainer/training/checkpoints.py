"""Progress reports and complete checkpoints, from inside TRL's training loop."""

import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from services.trainer.worker.progress import Progress

_COMPLETE = "complete"
_LOG_SECONDS = 3.0


class Reporter(TrainerCallback):
    """Writes progress, and marks each checkpoint once all of it is on disk. Does nothing on ranks above 0."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._logged = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report the total steps, and the step that training goes on from."""
        if state.is_world_process_zero:
            self._progress.update(step=state.global_step, total_steps=state.max_steps)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Report the step, and the metrics too where the last ones are old: slow steps are not waited for by tens."""
        if state.is_world_process_zero:
            self._progress.step(state.global_step)
        # Several processes log together, so no clock may decide it there.
        if args.world_size == 1 and time.monotonic() - self._logged >= _LOG_SECONDS:
            control.should_log = True

    def on_log(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Report the newest metrics, which come as `logs`."""
        self._logged = time.monotonic()
        if state.is_world_process_zero:
            self._progress.measured(kwargs["logs"])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Mark the checkpoint that has just been written as complete."""
        if state.is_world_process_zero and args.output_dir is not None:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _COMPLETE).touch()


def drop_incomplete(folder: Path) -> None:
    """Delete incomplete checkpoints: what a full disk left of one would keep the disk full."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / _COMPLETE).exists():
            shutil.rmtree(checkpoint, ignore_errors=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; those that a kill cut short do not count."""
    complete = (mark.parent for mark in folder.glob(f"checkpoint-*/{_COMPLETE}"))
    return max(complete, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)
