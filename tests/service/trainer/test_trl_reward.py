"""TRL's own GRPOTrainer trains on the judge's reward functions, on the demo's base model."""

import asyncio
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from datasets import Dataset
from starlette.responses import Response
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import import_utils

from selfreward import AsyncJudgeClient, JudgeClient
from selfreward.integrations.trl import async_trl_reward, trl_reward
from tests.support.judge_engine import Engine, Reply, completion
from tests.support.listening import listening_judge
from tests.support.places import M0

with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
    # GRPO samples with transformers here; TRL would load vLLM and its compiler for a minute, only to be able to.
    patch.setattr(import_utils, "is_vllm_available", lambda **_: False)
    warnings.simplefilter("ignore", DeprecationWarning)
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

STEPS = 3


def by_turns() -> Reply:
    """Rewards that differ within a group, whatever the policy writes; one answer in seven is not scored."""
    turns = itertools.count()

    def reply(sent: dict[str, Any]) -> Response:
        turn = next(turns) % 7
        return completion(*[f"Score: {turn}" if turn <= 5 else "no verdict"] * sent["n"])

    return reply


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Trained(NamedTuple):
    """The names of the weights that moved, what TRL logged at each step, and its trainer."""

    moved: set[str]
    logged: list[dict[str, float]]
    trainer: GRPOTrainer


def train(reward: Any, prompts: list[Any], folder: Path) -> Trained:
    """Three steps of GRPO on the demo's base model."""
    tokenizer = AutoTokenizer.from_pretrained(M0)
    model = AutoModelForCausalLM.from_pretrained(M0, dtype=torch.float32)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    config = GRPOConfig(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=24,
        learning_rate=1e-3,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=tokenizer,
    )
    trainer.train()
    assert trainer.model is not None
    moved = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    return Trained(moved, [row for row in trainer.state.log_history if "reward" in row], trainer)


PROBLEMS = [f"Use {a} 3 12 to make {a * 3 + 12} ." for a in range(2, 12)]
# Standard prompts go to the model as they are, so they are written as its chat template would write them.
TEXTS = [f"<|user|>{problem}<|assistant|>" for problem in PROBLEMS]
CHATS = [[{"role": "user", "content": problem}] for problem in PROBLEMS]


@pytest.mark.parametrize("prompts", [TEXTS, CHATS], ids=["standard", "conversational"])
def test_grpo_trains_on_the_reward_function(prompts: list[Any], tmp_path: Path) -> None:
    engine = Engine(by_turns())
    with listening_judge(engine) as url, JudgeClient(url) as client:
        trained = train(trl_reward(client, rubric="countdown", votes=2), prompts, tmp_path)

    assert trained.moved
    assert len(trained.logged) == STEPS
    assert len(engine.asked) == STEPS * 4
    assert all(0 <= row["rewards/judge_reward/mean"] <= 5 for row in trained.logged)


def test_grpo_trains_on_the_async_reward_function(tmp_path: Path) -> None:
    engine = Engine(by_turns())
    with listening_judge(engine) as url:
        client = AsyncJudgeClient(url)
        trained = train(async_trl_reward(client, rubric="countdown", votes=2), CHATS, tmp_path)
        # TRL awaits the reward on an event loop of its own, which lives as long as the process.
        asyncio.run_coroutine_threadsafe(client.close(), trained.trainer.async_loop).result(timeout=30)

    assert trained.moved
    assert len(engine.asked) == STEPS * 4 == len(trained.logged) * 4
