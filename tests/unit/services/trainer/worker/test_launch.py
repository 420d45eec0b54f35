"""Which jobs are valid, how their rows become batches, and which command runs them."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from selfreward.contracts.base import Message
from selfreward.contracts.training import DpoHyper, SftHyper, TrainJob
from selfreward.server.startup import StartRefused
from services.trainer.app import create_app
from services.trainer.settings import TrainerSettings
from services.trainer.training.arguments import batch_shape
from services.trainer.training.checks import JobRefused
from services.trainer.worker.launch import job_command, job_environment, node_command, this_node
from services.trainer.worker.node import WorkerNode
from services.trainer.worker.worker import Worker


def _job(**changes: Any) -> TrainJob:
    values: dict[str, Any] = {
        "id": "j",
        "run": "r",
        "stage": "M1",
        "method": "sft",
        "init_from": "a",
        "datasets": ["d"],
        "output": "o",
    }
    values |= {"canary": [Message(role="user", content="x")], "sft": SftHyper()}
    return TrainJob.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sft": None}, "method='sft' needs exactly the section `sft`"),
        ({"dpo": DpoHyper()}, "method='sft' needs exactly the section `sft`"),
        ({"datasets": []}, "method='sft' takes at least one dataset"),
        ({"method": "publish"}, "method='publish' needs neither `sft` nor `dpo`"),
        ({"method": "publish", "sft": None}, "method='publish' takes no datasets"),
    ],
)
def test_jobs_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _job(**changes)


def test_publishing_needs_no_data_and_no_hyperparameters() -> None:
    assert _job(method="publish", sft=None, datasets=[]).datasets == []


def test_the_batch_is_shared_by_the_processes_and_cut_into_passes() -> None:
    assert batch_shape(SftHyper(batch_size=64), world_size=1) == (64, 1)
    assert batch_shape(SftHyper(batch_size=64, micro_batch_size=16), world_size=2) == (16, 2)
    assert batch_shape(SftHyper(batch_size=8, micro_batch_size=16), world_size=1) == (8, 1)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(JobRefused, match="batch_size=6 is not a multiple of world_size=4"):
        batch_shape(SftHyper(batch_size=6), world_size=4)


def test_torchrun_starts_only_jobs_of_several_processes() -> None:
    assert job_command(_job(), Path("spec.json")) == [sys.executable, "-m", "services.trainer.job", "spec.json"]
    several = job_command(_job(world_size=2), Path("spec.json"))
    assert several[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in several
    assert several[several.index("--nproc-per-node") + 1] == "2"


def test_on_several_nodes_torchrun_reads_which_node_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_NNODES", "2")
    monkeypatch.setenv("PET_NODE_RANK", "1")
    assert this_node() == (1, 2)
    command = job_command(_job(world_size=2), Path("spec.json"))
    assert command == node_command(Path("spec.json"))
    assert "--standalone" not in command
    assert "--nproc-per-node" not in command


def test_one_of_several_nodes_has_to_be_told_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PET_NNODES", "2")
    with pytest.raises(StartRefused, match="PET_NNODES=2 without SELFREWARD_TRAIN_JOB"):
        create_app(TrainerSettings())
    assert isinstance(create_app(TrainerSettings(train_job="j")).state.worker, Worker)
    monkeypatch.setenv("PET_NODE_RANK", "1")
    assert isinstance(create_app(TrainerSettings(train_job="j")).state.worker, WorkerNode)


def test_what_the_environment_says_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert job_environment()["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert "OMP_WAIT_POLICY" not in job_environment()
