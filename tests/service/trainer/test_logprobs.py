"""Log-probabilities of answers, against transformers' own logits, and what a killed or wrong job leaves."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from redis import Redis

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response, ResponseLogprobs, Rollout
from selfreward.contracts.training import TrainJob, TrainStatus
from selfreward.redis.connection import connect
from selfreward.redis.queue import Work
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import InvalidArtifact
from services.trainer.algorithms.logprobs import batched
from services.trainer.job import run
from services.trainer.settings import TrainerSettings
from services.trainer.training.checks import JobRefused, load_tokenizer, render
from services.trainer.training.models import load_model
from services.trainer.worker.progress import Progress, read_progress
from services.trainer.worker.worker import Worker
from tests.support.checkpoints import copy_of, perturbed, publish
from tests.support.places import M0
from tests.support.trainer_jobs import BASE, CANARY, publish_job

OTHER = "runs/t/weights/other"
ROLLOUTS = "runs/t/rollouts/M2.jsonl"
TEXTS = ["7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 10", "", "12 - 3 = 9 ; 9 * 7 = 63 ; 63 - 30 = 33"]


def rollouts(count: int = 6) -> list[Rollout]:
    return [
        Rollout(
            key=f"k{n}",
            run="t",
            stage="M2",
            prompt_id=f"p{n}",
            prompt=[Message(role="user", content=f"Use 7 3 {n} to make 33 .")],
            policy_version="policy@1",
            responses=[Response(text=text) for text in TEXTS[: 2 + n % 3]],
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    """A store with two checkpoints and the rollouts of a round."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("store")))
    folder = tmp_path_factory.mktemp("publish")
    run(publish_job(), store, folder, Progress(folder / "progress.json", "m0"))
    publish(store, OTHER, copy_of(M0, perturbed(1)), proven=False)
    store.write_jsonl(ROLLOUTS, (rollout.model_dump(mode="json") for rollout in rollouts()))
    return store


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """One thread, since the cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def job(name: str = "score", **changes: object) -> TrainJob:
    values: dict[str, object] = {
        "id": name,
        "run": "t",
        "stage": "M2",
        "method": "logprobs",
        "init_from": BASE,
        "datasets": [ROLLOUTS],
    }
    values |= {"checkpoints": [BASE, OTHER], "output": f"runs/t/data/{name}.jsonl", "canary": CANARY}
    return TrainJob.model_validate({**values, **changes})


def score(asked: TrainJob, store: ArtifactStore, folder: Path) -> list[ResponseLogprobs]:
    run(asked, store, folder, Progress(folder / "progress.json", asked.id))
    return [ResponseLogprobs.model_validate(row) for row in store.read_jsonl(asked.output)]


def expected(store: ArtifactStore, checkpoint: str, rollout: Rollout, index: int) -> tuple[float, int]:
    """The sum and number of an answer's tokens by a forward pass of its own, without padding."""
    tokenizer = load_tokenizer(store.fetch(checkpoint), CANARY)
    prompt = render(tokenizer, rollout.prompt, answer_next=True)
    ids = render(tokenizer, [*rollout.prompt, Message(role="assistant", content=rollout.responses[index].text)])
    with torch.no_grad():
        logits = load_model(store.fetch(checkpoint), torch.float32)(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(prompt), len(ids))
    return sum(float(logits[place - 1, ids[place]]) for place in places), len(places)


def test_each_answer_has_what_each_checkpoint_gives_its_tokens(store: ArtifactStore, tmp_path: Path) -> None:
    found = {(row.prompt_id, row.index): row for row in score(job(), store, tmp_path)}
    asked = rollouts()
    assert set(found) == {(rollout.prompt_id, index) for rollout in asked for index in range(len(rollout.responses))}
    for rollout in asked[:3]:
        for index in range(len(rollout.responses)):
            row = found[rollout.prompt_id, index]
            assert set(row.logprobs) == {BASE, OTHER}
            for checkpoint, value in row.logprobs.items():
                total, tokens = expected(store, checkpoint, rollout, index)
                assert value == pytest.approx(total, rel=1e-4)
                assert row.tokens == tokens
    status = read_progress(tmp_path / "progress.json")
    assert status is not None
    assert status.step == status.total_steps > 0
    assert status.metrics["rows"] == len(found)


def test_an_answer_too_long_for_the_model_shifts_no_other_answers_place(store: ArtifactStore, tmp_path: Path) -> None:
    before = {(row.prompt_id, row.index): row for row in score(job("short"), store, tmp_path)}
    rows = [rollout.model_dump(mode="json") for rollout in rollouts()]
    rows[1]["responses"][0]["text"] = "7 + 3 = 10 ; " * 400
    store.write_jsonl("runs/t/rollouts/long.jsonl", rows)
    after = {
        (row.prompt_id, row.index): row
        for row in score(job("long", datasets=["runs/t/rollouts/long.jsonl"]), store, tmp_path)
    }
    assert set(before) - set(after) == {("p1", 0)}
    for place, row in after.items():
        assert row.logprobs == pytest.approx(before[place].logprobs, rel=1e-4)


def test_a_killed_job_goes_on_after_its_last_whole_batch(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.algorithms.logprobs.batched", lambda lengths: batched(lengths, 64))
    whole = score(job("whole"), store, tmp_path)
    part = tmp_path / "checkpoints" / "logprobs-0.jsonl"
    part.parent.mkdir()
    # A mark that no model gives shows which batches were taken over; the last line was cut short by the kill.
    first = _first_batch(store)
    part.write_text(json.dumps([-1234.5] * first) + "\n" + "[-9999")
    resumed = score(job("resumed"), store, tmp_path)
    assert not part.exists()
    marked = [row for row in resumed if row.logprobs[BASE] == -1234.5]
    assert len(marked) == first
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours.logprobs[OTHER] == theirs.logprobs[OTHER]
        assert ours in marked or ours.logprobs == theirs.logprobs


def _first_batch(store: ArtifactStore) -> int:
    tokenizer = load_tokenizer(store.fetch(BASE), CANARY)
    lengths = [
        len(render(tokenizer, [*rollout.prompt, Message(role="assistant", content=response.text)]))
        for rollout in rollouts()
        for response in rollout.responses
    ]
    return len(batched(lengths, 64)[0])


def test_batches_hold_like_lengths_within_their_budget_and_every_place_once() -> None:
    lengths = [5, 90, 7, 6, 30, 31, 200]
    batches = batched(lengths, 64)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[place] for place in batch) <= 64 for batch in batches if len(batch) > 1)
    assert batches[0] == [0, 3, 2]


def test_a_prompt_that_is_there_twice_and_a_missing_checkpoint_are_refused(
    store: ArtifactStore, tmp_path: Path
) -> None:
    twice = [rollouts()[0].model_dump(mode="json")] * 2
    store.write_jsonl("runs/t/rollouts/twice.jsonl", twice)
    with pytest.raises(JobRefused, match=r"twice\.jsonl row 2: prompt_id 'p0' is there twice"):
        score(job("twice", datasets=["runs/t/rollouts/twice.jsonl"]), store, tmp_path)
    with pytest.raises(InvalidArtifact, match="runs/t/weights/none"):
        score(job("none", checkpoints=["runs/t/weights/none"]), store, tmp_path)
    with pytest.raises(ValueError, match=r"checkpoints=.*takes at least one checkpoint"):
        job(checkpoints=[])
    with pytest.raises(ValueError, match="world_size=2: method='logprobs' is one process"):
        job(world_size=2)


def test_a_job_whose_file_is_there_ends_at_once(store: ArtifactStore, tmp_path: Path, redis_url: str) -> None:
    asked = job("again")
    digest = run(asked, store, tmp_path, Progress(tmp_path / "progress.json", asked.id))
    assert run(asked, store, tmp_path, Progress(tmp_path / "progress.json", asked.id)) == digest
    settings = TrainerSettings(redis_url=redis_url, artifacts=store.root, work_dir=tmp_path / "work")

    async def take() -> None:
        async with connect(redis_url) as redis:
            worker = Worker(redis, store, settings)
            await worker.queue.open()
            await worker.queue.put(asked.id, asked.model_dump(mode="json"))
            works: list[Work] = await worker.queue.take("w", block_ms=100)
            await worker._handle(works[0])

    asyncio.run(take())
    body = Redis.from_url(redis_url, decode_responses=True).get(f"selfreward:train:{asked.id}")
    status = TrainStatus.model_validate_json(str(body))
    assert (status.state, status.digest) == ("done", digest)
    assert not (tmp_path / "work").exists()
