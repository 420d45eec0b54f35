"""Which checkpoints of a job count, and what is reported of one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState

from services.trainer.training.checkpoints import Reporter, drop_incomplete, last_checkpoint
from services.trainer.worker.progress import Progress, read_progress


def test_only_complete_checkpoints_are_kept_and_the_newest_is_taken(tmp_path: Path) -> None:
    for step in (8, 16, 24):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"x")
    for step in (8, 16):
        (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-16"
    drop_incomplete(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-16", "checkpoint-8"]
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-16"
    drop_incomplete(tmp_path / "none")


@pytest.mark.parametrize(("processes", "logged"), [(1, [False, False, False, True, False]), (2, [False] * 5)])
def test_slow_steps_are_logged_every_few_seconds_where_one_process_decides(
    processes: int, logged: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("services.trainer.training.checkpoints.time.monotonic", lambda: now)
    reporter = Reporter(Progress(tmp_path / "progress.json", "job"))
    state, control = TrainerState(), TrainerControl()
    asked = []
    for step in range(5):
        now, state.global_step, control.should_log = float(step), step, False
        reporter.on_step_end(SimpleNamespace(world_size=processes), state, control)  # type: ignore[arg-type]
        asked.append(control.should_log)
        if control.should_log:
            reporter.on_log(None, state, control, logs={"loss": 0.5})
    assert asked == logged
    status = read_progress(tmp_path / "progress.json")
    assert status is not None
    assert status.metrics == ({"loss": 0.5} if processes == 1 else {})
