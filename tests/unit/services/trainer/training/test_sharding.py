"""Sharded training: where it is refused, and what transformers is told. No test here has the GPUs to do it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from trl.trainer.sft_config import SFTConfig

from selfreward.contracts.base import Message
from selfreward.contracts.optimisation import Lora
from selfreward.contracts.training import DpoHyper, SftHyper, TrainJob
from selfreward.loop.load import RunRecipe
from selfreward.recipe.recipe import Recipe
from services.trainer.training.arguments import shared_arguments
from services.trainer.training.checks import JobRefused, check_sharding
from services.trainer.training.models import load_model, whole_model
from tests.support.methods import train_job
from tests.support.places import M0

CANARY = [Message(role="user", content="x")]


def _recipe(**changes: Any) -> Recipe:
    data = {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"}
    values = {"name": "r", "model": "m", "data": data, "trainer": {"world_size": 2, "sharding": "fsdp"}}
    return RunRecipe.model_validate({**values, **changes})


def _job(**changes: Any) -> TrainJob:
    values: dict[str, Any] = {"id": "j", "run": "r", "stage": "M1", "method": "sft", "init_from": "a", "output": "o"}
    values |= {"canary": CANARY, "datasets": ["d"], "sft": SftHyper(), "world_size": 2, "sharding": "fsdp"}
    return TrainJob.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainer": {"sharding": "fsdp"}}, "sharding='fsdp' with world_size=1 splits nothing"),
        ({"sft": {"lora": {}}}, "sharding='fsdp' with lora: adapters have little to split"),
        ({"method": "self_improving", "loop": {"use_eft": False}}, "trainer.sharding='fsdp' is for SFT and DPO"),
    ],
)
def test_a_recipe_is_refused_where_sharding_saves_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _recipe(**changes)


def test_a_job_is_refused_where_sharding_saves_nothing() -> None:
    with pytest.raises(ValidationError, match="with world_size=1 splits nothing"):
        _job(world_size=1)
    with pytest.raises(ValidationError, match="with lora"):
        _job(method="dpo", sft=None, dpo=DpoHyper(lora=Lora()))
    with pytest.raises(ValidationError, match="sharding='fsdp' is for method 'sft' or 'dpo', not 'publish'"):
        _job(method="publish", sft=None, datasets=[])


def test_a_recipe_shards_what_it_trains_and_nothing_else() -> None:
    recipe = _recipe()
    made = {stage: train_job("r", recipe, stage, CANARY) for stage in ("M0", "SFT", "M1", "M2")}
    assert {stage: (job.sharding, job.world_size) for stage, job in made.items()} == {
        "M0": ("none", 1),
        "SFT": ("fsdp", 2),
        "M1": ("fsdp", 2),
        "M2": ("fsdp", 2),
    }


def test_transformers_is_told_to_split_by_fully_shard(tmp_path: Path) -> None:
    hyper = SftHyper(gradient_checkpointing=True)
    made = SFTConfig(**shared_arguments(_job(sft=hyper), hyper, tmp_path))
    plugin = made.fsdp_plugin_args
    assert (plugin["fsdp_version"], plugin["reshard_after_forward"]) == (2, True)
    assert plugin["activation_checkpointing"] is True
    assert plugin["state_dict_type"] == "SHARDED_STATE_DICT"
    assert plugin["auto_wrap_policy"] == "TRANSFORMER_BASED_WRAP"
    assert made.gradient_checkpointing is False
    assert "fsdp" not in shared_arguments(_job(sharding="none", sft=hyper), hyper, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_a_sharded_job_is_refused_before_any_work() -> None:
    with pytest.raises(JobRefused, match="sharding='fsdp' needs GPUs and this machine has none"):
        check_sharding(_job())
    check_sharding(_job(sharding="none"))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[DeviceMesh]:
    """A process group of this process alone: PyTorch itself shards on CPUs, where accelerate refuses to."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_what_a_sharded_model_is_gathered_to_makes_the_whole_model(alone: DeviceMesh) -> None:
    """Sharded, wrapped for activation checkpointing and gathered as accelerate does all three."""
    sharded: Any = load_model(M0, torch.float32)
    for number, layer in enumerate(sharded.model.layers):
        sharded.model.layers[number] = checkpoint_wrapper(layer)
        fully_shard(sharded.model.layers[number], mesh=alone)
    fully_shard(sharded, mesh=alone)
    with torch.no_grad():
        for parameter in sharded.parameters():
            parameter.add_(1)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=True)
    gathered: Any = get_model_state_dict(sharded, options=options)
    model = whole_model(M0, gathered, torch.float32)
    before = load_model(M0, torch.float32)
    for (name, tensor), (_, old) in zip(model.state_dict().items(), before.state_dict().items(), strict=True):
        assert torch.equal(tensor, old + 1), name
    tied = before.get_output_embeddings().weight is before.get_input_embeddings().weight
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    with pytest.raises(RuntimeError, match="Missing key"):
        whole_model(M0, {}, torch.float32)
