"""The judge as a process of its own, judging with the real engine on the tiny model."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfreward.client.http import ServiceClient, WrongPolicyVersion
from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.judging import JudgeItem, JudgeResponse
from selfreward.processes.child import free_port
from selfreward.redis.announcements import announce
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore
from tests.support.checkpoints import copy_of, perturbed, publish
from tests.support.live_generator import Generator

GOOD = "7 * 3 = 21 ; 21 + 12 = 33"
BAD = "7 + 3 = 11"
ITEMS = [
    JudgeItem(id=f"{name}{index}", prompt="Use 7 3 12 to make 33 .", response=response)
    for index in range(8)
    for name, response in (("good", GOOD), ("bad", BAD))
]


@pytest.fixture(scope="module")
def judge_url(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    environment = os.environ | {
        "SELFREWARD_GENERATOR_URL": generator.url,
        "SELFREWARD_PORT": str(port),
        "SELFREWARD_JUDGE_RUBRICS": str(tmp_path_factory.mktemp("rubrics")),
    }
    log = tmp_path_factory.mktemp("judge") / "judge.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.judge"], env=environment, stdout=stream, stderr=stream
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not answers(f"{url}/readyz"):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=30)
    assert status in (0, -signal.SIGTERM), log.read_text()[-3000:]


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def serve(generator: Generator, tiny_model: Path, seed: int | None = None) -> str:
    """Announce the tiny model, or with `seed` a changed copy of it, and wait until it is served; its label."""
    name = f"judge/{'base' if seed is None else seed}"
    digest = publish(
        ArtifactStore(generator.artifacts), name, copy_of(tiny_model, None if seed is None else perturbed(seed, 0.02))
    )
    label = asyncio.run(announced(generator, name, digest))
    generator.wait_for(label)
    return label


async def announced(generator: Generator, name: str, digest: str) -> str:
    redis = connect(generator.redis_url)
    try:
        return (await announce(redis, name, digest)).label
    finally:
        await redis.aclose()


def judge(url: str, items: list[JudgeItem], policy: str | None = None, seed: int | None = None) -> JudgeResponse:
    async def scenario() -> JudgeResponse:
        async with ServiceClient(url, deadline=120) as service:
            return await AsyncJudgeClient(service).judge(items, rubric="countdown", policy=policy, seed=seed)

    return asyncio.run(scenario())


def test_the_real_model_judges(generator: Generator, judge_url: str, tiny_model: Path) -> None:
    label = serve(generator, tiny_model)

    result = judge(judge_url, ITEMS, policy=label, seed=11)

    assert result.judge_version == label
    assert [judgment.id for judgment in result.data] == [item.id for item in ITEMS]
    assert all(len(judgment.votes) == 3 for judgment in result.data)
    valid = [vote for judgment in result.data for vote in judgment.votes if vote.status == "ok"]
    assert len(valid) >= 0.8 * 3 * len(ITEMS)
    assert all(vote.text.endswith(f"Score: {vote.score:g}") for vote in valid if vote.score is not None)
    assert result.usage.completion_tokens > len(valid) * 10


def test_only_special_tokens_of_the_real_tokenizer_are_changed(
    generator: Generator, judge_url: str, tiny_model: Path
) -> None:
    serve(generator, tiny_model)
    item = {"prompt": "p", "response": "<|user|> <|im_end|> [INST] <unk> x[mask] Stack<S> </s>"}

    answer = httpx.post(f"{judge_url}/v1/rubrics/additive5/prompt", json={"items": [item]}, timeout=60).json()

    assert "\n(/user/) <|im_end|> [INST] (unk) x[mask] Stack<S> </s>\n" in answer["messages"][0][0]["content"]


def test_the_same_seed_gives_the_same_votes(generator: Generator, judge_url: str, tiny_model: Path) -> None:
    serve(generator, tiny_model)

    first, again, other = (judge(judge_url, ITEMS, seed=seed) for seed in (11, 11, 12))

    assert [judgment.votes for judgment in again.data] == [judgment.votes for judgment in first.data]
    assert [judgment.votes for judgment in other.data] != [judgment.votes for judgment in first.data]


@pytest.mark.parametrize(
    ("route", "body", "votes"),
    [
        ("pairwise", {"items": [{"prompt": "Use 7 3 12 to make 33 .", "a": GOOD, "b": BAD}]}, 2),
        ("meta", {"prompt": "p", "response": GOOD, "judgment_a": "Score: 5", "judgment_b": "Score: 1"}, 2),
        ("rank", {"prompt": "p", "candidates": [GOOD, BAD], "votes": 1}, 2),
        ("rank", {"prompt": "p", "candidates": [GOOD, BAD], "rubric": "countdown", "votes": 2}, 2),
        ("", {"rubric": "criteria", "items": [{"prompt": "p", "response": GOOD}], "votes": 2}, 2),
        ("", {"rubric": "countdown", "items": [{"prompt": "p", "response": GOOD}], "aggregation": "expected"}, 3),
    ],
)
def test_every_way_to_judge_asks_the_real_engine(
    generator: Generator, judge_url: str, tiny_model: Path, route: str, body: dict[str, Any], votes: int
) -> None:
    """The tiny model knows one rubric only: what is held here is that its engine takes what is sent."""
    label = serve(generator, tiny_model)

    short = {"max_tokens": 24, "retry_max_tokens": 48, "seed": 5}  # its context has 512 tokens
    answer = httpx.post(f"{judge_url}/v1/judge/{route}".rstrip("/"), json={**body, **short}, timeout=120)

    assert answer.status_code == 200, answer.text
    assert answer.json()["judge_version"] == label
    (verdict,) = answer.json()["data"]
    assert verdict["status"] in ("ok", "partial", "unscored")
    cast = verdict["votes"] or [vote for judgment in verdict["judgments"] for vote in judgment["votes"]]
    assert len(cast) == votes * (2 if body.get("rubric") == "countdown" and route == "rank" else 1)
    assert all(vote["status"] in ("ok", "truncated", "unparsed", "out_of_range", "refused") for vote in cast), cast


BRIEF_DEBATE = {
    "title": "A debate that fits into the context of the tiny model",
    "kind": "debate",
    "debate": {"rounds": 2, "argument_tokens": 16},
    "logprobs": True,
    "template": "Compare. Task : {prompt} Response A : {response_a} Response B : {response_b} {debate}",
    "argue": "Argue for {side} . Task : {prompt} Response A : {response_a} Response B : {response_b} {debate}",
}


def test_a_debate_is_held_by_the_real_engine(generator: Generator, judge_url: str, tiny_model: Path) -> None:
    label = serve(generator, tiny_model)
    httpx.put(f"{judge_url}/v1/rubrics/brief", json=BRIEF_DEBATE, timeout=60).raise_for_status()
    items = [{"prompt": "Use 7 3 12 to make 33 .", "a": GOOD, "b": BAD}]
    body = {"rubric": "brief", "items": items, "votes": 2, "max_tokens": 24, "seed": 5}

    first, again = (httpx.post(f"{judge_url}/v1/judge/pairwise", json=body, timeout=120) for _ in range(2))

    assert first.status_code == 200, first.text
    assert first.json()["judge_version"] == label
    (verdict,) = first.json()["data"]
    assert [vote["status"] in ("ok", "truncated", "unparsed", "refused") for vote in verdict["votes"]] == [True] * 4
    assert len(verdict["debate"]) == 8
    assert {argument["status"] for argument in verdict["debate"]} <= {"ok", "truncated", "empty"}
    assert again.json()["data"] == [verdict]


def test_a_version_that_is_not_served_is_refused(generator: Generator, judge_url: str, tiny_model: Path) -> None:
    serve(generator, tiny_model)

    with pytest.raises(WrongPolicyVersion, match="policy@12345"):
        judge(judge_url, ITEMS[:2], policy="policy@12345")


def test_a_batch_over_a_swap_is_judged_by_one_version(generator: Generator, judge_url: str, tiny_model: Path) -> None:
    before = serve(generator, tiny_model)
    digest = publish(ArtifactStore(generator.artifacts), "judge/1", copy_of(tiny_model, perturbed(1, 0.02)))
    items = [item.model_copy(update={"id": f"{item.id}/{copy}"}) for copy in range(12) for item in ITEMS]

    async def scenario() -> tuple[JudgeResponse, str]:
        async with ServiceClient(judge_url, deadline=120) as service:
            judging = asyncio.create_task(AsyncJudgeClient(service).judge(items, rubric="countdown"))
            await asyncio.sleep(0.2)
            after = await announced(generator, "judge/1", digest)
            return await judging, after

    result, after = asyncio.run(scenario())
    generator.wait_for(after)

    assert before != after
    assert result.judge_version in (before, after)
    assert len(result.data) == len(items)
    assert all(vote.status != "error" for judgment in result.data for vote in judgment.votes)
