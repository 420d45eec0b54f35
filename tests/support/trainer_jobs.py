"""The small data and jobs that the trainer's tests share."""

import random
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.contracts.training import DpoHyper, SftHyper, TrainJob
from selfreward.store.artifacts import ArtifactStore
from tests.support.places import M0

CANARY = [Message(role="user", content="Use 7 3 12 to make 33 .")]
SFT_DATA = "runs/t/data/sft.jsonl"
PAIRS = "runs/t/pairs/M2.jsonl"
BASE = "runs/t/weights/M0"


def _problem(numbers: random.Random) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    a, b, c = (numbers.randint(1, 12) for _ in range(3))
    prompt = [{"role": "user", "content": f"Use {a} {b} {c} to make {a * b + c} ."}]
    return prompt, [{"role": "assistant", "content": f"{a} * {b} = {a * b} ; {a * b} + {c} = {a * b + c}"}]


def write_data(store: ArtifactStore, rows: int = 64) -> None:
    """Write SFT rows and preference pairs."""
    numbers = random.Random(5)
    problems = [_problem(numbers) for _ in range(rows)]
    store.write_jsonl(SFT_DATA, ({"prompt": prompt, "completion": answer} for prompt, answer in problems))
    pairs = [
        PreferencePair(
            prompt=[Message.model_validate(turn) for turn in prompt],
            chosen=[Message.model_validate(turn) for turn in answer],
            rejected=[Message(role="assistant", content="1 + 1 = 2 ; 2 + 1 = 3")],
            prompt_id=str(index),
            score_chosen=5,
            score_rejected=1,
            policy_version="policy@1",
            judge_version="policy@1",
            rubric="countdown",
        )
        for index, (prompt, answer) in enumerate(problems)
    ]
    store.write_jsonl(PAIRS, (pair.model_dump(mode="json") for pair in pairs))


def publish_job(**changes: Any) -> TrainJob:
    """Publish the demo's base model."""
    values = {"id": "m0", "run": "t", "stage": "M0", "method": "publish", "init_from": str(M0), "output": BASE}
    return TrainJob.model_validate({**values, "canary": CANARY, **changes})


def sft_job(name: str = "sft", hyper: dict[str, Any] | None = None, **changes: Any) -> TrainJob:
    """A short SFT of the base model: 8 steps of 8 rows unless `hyper` says otherwise."""
    section = {"learning_rate": 1e-3, "batch_size": 8, "max_length": 128, "save_every": 3, **(hyper or {})}
    values: dict[str, Any] = {
        "id": name,
        "run": "t",
        "stage": "M1",
        "method": "sft",
        "init_from": BASE,
        "datasets": [SFT_DATA],
    }
    values |= {"output": f"runs/t/weights/{name}", "canary": CANARY, "sft": SftHyper.model_validate(section)}
    return TrainJob.model_validate({**values, **changes})


def dpo_job(name: str = "dpo", hyper: dict[str, Any] | None = None, **changes: Any) -> TrainJob:
    """A short DPO of the base model: 4 steps of 16 pairs unless `hyper` says otherwise."""
    section = {"learning_rate": 1e-4, "batch_size": 16, "max_length": 128, **(hyper or {})}
    values: dict[str, Any] = {
        "id": name,
        "run": "t",
        "stage": "M2",
        "method": "dpo",
        "init_from": BASE,
        "datasets": [PAIRS],
    }
    values |= {"output": f"runs/t/weights/{name}", "canary": CANARY, "dpo": DpoHyper.model_validate(section)}
    return TrainJob.model_validate({**values, **changes})


def absent_model_job() -> TrainJob:
    """A job that publishes a folder which is not there."""
    values = {"id": "a", "run": "r", "stage": "M0", "method": "publish", "init_from": "m", "output": "out"}
    return TrainJob.model_validate({**values, "canary": [Message(role="user", content="hello")]})
