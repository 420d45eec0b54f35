"""Which checkpoints of a job count."""

from pathlib import Path

from services.trainer.training.checkpoints import drop_incomplete, last_checkpoint


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
