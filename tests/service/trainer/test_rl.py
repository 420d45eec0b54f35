"""Reinforcement learning jobs from spec to published checkpoint: real TRL, the demo's base model, the real judge
service. Only the judge's engine is a stand-in, which likes products."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from starlette.responses import JSONResponse, Response
from trl import import_utils

from selfreward.contracts.reinforcement import JobVerdicts, RlHyper, Sample
from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from services.trainer.algorithms.rewards import JudgeAway
from services.trainer.algorithms.rl import rl_trainer
from services.trainer.job import run
from services.trainer.training.checks import JobRefused, load_tokenizer
from services.trainer.training.models import load_model
from services.trainer.worker.progress import Progress
from tests.support.judge_engine import Engine, Reply, completion, content
from tests.support.listening import listening_judge
from tests.support.trainer_jobs import BASE, CANARY, publish_job

with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
    # The trainer samples with transformers; TRL would load vLLM and its compiler for a minute, only to be able to.
    patch.setattr(import_utils, "is_vllm_available", lambda **_: False)
    warnings.simplefilter("ignore", DeprecationWarning)
    import services.trainer.algorithms.grpo  # noqa: F401

QUESTIONS = "data/questions.jsonl"
SAMPLES = "runs/t/samples/M2.jsonl"
STEPS, BATCH, GROUP = 3, 8, 4


def likes_products(sent: dict[str, Any]) -> Response:
    """Full marks for an answer with a product."""
    answer = content(sent).rsplit("Answer : ", 1)[1]
    return completion(*[f"Score: {5 if '*' in answer else 2}"] * sent["n"])


def question(name: str, text: str) -> dict[str, Any]:
    return {"prompt_id": name, "prompt": [{"role": "user", "content": text}]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store with six questions and the published base model."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("store")))
    problems = range(2, 2 + STEPS * BATCH // GROUP)
    store.write_jsonl(QUESTIONS, [question(f"q{a}", f"Use {a} 3 12 to make {a * 3 + 12} .") for a in problems])
    train(publish_job(), store, tmp_path_factory.mktemp("publish"))
    return store


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def job(algorithm: str, name: str, hyper: dict[str, Any] | None = None, **changes: Any) -> TrainJob:
    """Three steps of two questions with four answers each."""
    section = {"algorithm": algorithm, "learning_rate": 3e-4, "batch_size": BATCH, "group": GROUP, "max_tokens": 24}
    section |= {"max_length": 128, "save_every": 2, **(hyper or {})}
    rules = {"rubric": "countdown", "votes": 1, "temperature": 0.7, "top_p": 0.9, "max_tokens": 24, "correct_from": 5}
    values: dict[str, Any] = {"id": name, "run": "t", "stage": "M2", "method": "rl", "init_from": BASE}
    values |= {"datasets": [QUESTIONS], "output": f"runs/t/weights/{name}", "canary": CANARY}
    values["rl"] = RlHyper.model_validate(section)
    values["verdicts"] = JobVerdicts.model_validate(
        {**rules, "policy": "policy@7", "samples": SAMPLES, "patience_s": 0}
    )
    return TrainJob.model_validate({**values, **changes})


def train(asked: TrainJob, store: ArtifactStore, folder: Path) -> str:
    return run(asked, store, folder, Progress(folder / "progress.json", asked.id))


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The engine of the judge that the trainer's environment names."""
    engine = Engine(likes_products)
    with listening_judge(engine) as url:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        yield engine


def samples(store: ArtifactStore) -> list[Sample]:
    return [Sample.model_validate(row) for row in store.read_jsonl(SAMPLES)]


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "ppo"])
def test_a_job_trains_on_verdicts_and_publishes(
    algorithm: str, store: ArtifactStore, judge: Engine, tmp_path: Path
) -> None:
    asked = job(algorithm, algorithm)
    digest = train(asked, store, tmp_path)
    manifest, found = verify_folder(store.fetch(asked.output))
    assert (found, manifest.lineage.method, manifest.lineage.datasets) == (digest, "rl", [QUESTIONS])
    before, after = (load_file(store.fetch(name) / "model.safetensors") for name in (BASE, asked.output))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    rows = samples(store)
    assert [row.step for row in rows] == [step for step in range(1, STEPS + 1) for _ in range(BATCH)]
    groups = [[row.prompt_id for row in rows[start : start + GROUP]] for start in range(0, len(rows), GROUP)]
    assert all(len(set(group)) == 1 for group in groups)
    assert all(row.reward == ("*" in row.text) for row in rows)
    assert {body["model"] for body in judge.bodies} == {"policy@7"}
    assert train(asked, store, tmp_path) == digest


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_job_that_lost_its_judge_goes_on_from_its_checkpoint(
    algorithm: str, store: ArtifactStore, judge: Engine, tmp_path: Path
) -> None:
    asked = job(algorithm, f"resumed-{algorithm}")
    log = tmp_path / "samples-0.jsonl"
    judge.reply = away_after(2 * BATCH, log)
    with pytest.raises(JudgeAway, match="have no verdict after 0 s"):
        train(asked, store, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    first = log.read_text().splitlines()[: 2 * BATCH]
    judge.reply = likes_products
    train(asked, store, tmp_path)
    rows = samples(store)
    assert [row.step for row in rows] == [step for step in range(1, STEPS + 1) for _ in range(BATCH)]
    assert [row.model_dump_json() for row in rows[: 2 * BATCH]] == first


def test_ppo_knows_of_its_answers_what_the_model_says_of_each_alone(
    store: ArtifactStore, judge: Engine, tmp_path: Path
) -> None:
    """Prompts of several lengths are padded together; each answer's figures are those of its own text."""
    asked = job("ppo", "look", {"temperature": 0.8, "micro_batch_size": 4, "beta": 0.0})
    store.write_jsonl("data/lengths.jsonl", [question("short", "Use 2 ."), question("long", "Use 7 3 12 to make 33 .")])
    asked = asked.model_copy(update={"datasets": ["data/lengths.jsonl"]})
    parent = store.fetch(BASE)
    tokenizer = load_tokenizer(parent, CANARY)
    trainer = rl_trainer(asked, store, parent, tokenizer, tmp_path / "c", Progress(tmp_path / "p.json", asked.id))
    rollout = trainer._sample(trainer.model, list(trainer.train_dataset))
    alone = load_model(parent, torch.float32)
    rewards = [json.loads(line)["reward"] for line in (tmp_path / "samples-0.jsonl").read_text().splitlines()]
    length = rollout.mask.shape[1]
    for row in range(BATCH):
        ids = rollout.ids[row][rollout.attention[row].bool()]
        size = int(rollout.mask[row].sum())
        with torch.no_grad():
            logps = (alone(ids[None]).logits[0] / 0.8).log_softmax(-1)
        expected = [float(logps[place - 1, ids[place]]) for place in range(len(ids) - size, len(ids))]
        assert rollout.logps[row, :size].tolist() == pytest.approx(expected, abs=1e-4)
        assert rollout.mask[row].tolist() == [1.0] * size + [0.0] * (length - size)
        # Values begin at 0, so the verdict alone is passed back, discounted by lambda.
        passed_back = [rewards[row] * 0.95**later for later in reversed(range(size))]
        assert rollout.returns[row, :size].tolist() == pytest.approx(passed_back)
    assert not rollout.values.any()
    assert {len(ids) for ids in trainer.train_dataset["prompt_ids"]} == {5, 10}


def away_after(answers: int, log: Path) -> Reply:
    """Another version is served once so many answers are rewarded."""

    def answered(sent: dict[str, Any]) -> Response:
        done = len(log.read_text().splitlines())
        return likes_products(sent) if done < answers else JSONResponse({"error": {"message": "policy@9"}}, 409)

    return answered


@pytest.mark.parametrize(
    ("algorithm", "hyper", "changes", "message"),
    [
        ("grpo", {"max_tokens": 120}, {}, "leave no room for an answer of 120 tokens within 128"),
        ("grpo", {"batch_size": 96}, {}, "6 questions are less than one batch: .* take 24"),
        ("ppo", {"lora": {"rank": 4}}, {}, r"rl\.lora and rl\.gradient_checkpointing are not for PPO"),
        ("grpo", {}, {"datasets": ["data/none.jsonl"]}, "dataset 'data/none.jsonl' does not exist"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_answer(
    algorithm: str,
    hyper: dict[str, Any],
    changes: dict[str, Any],
    message: str,
    store: ArtifactStore,
    judge: Engine,
    tmp_path: Path,
) -> None:
    with pytest.raises(JobRefused, match=message):
        train(job(algorithm, "refused", hyper, **changes), store, tmp_path)
    assert judge.bodies == []
