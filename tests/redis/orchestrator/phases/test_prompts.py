"""Self-instruct against a fixed model: real Redis; the engine is a stand-in that writes numbered lists."""

import asyncio
import json
import re

import httpx
import pytest

from orchestrator.phases.prompts import write_prompts
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.errors import RunFailed
from orchestrator.runs.lease import acquire
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import VERSION_HEADER, GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop.load import RunRecipe
from selfreward.loop.record import ModelRecord, RunState, now
from selfreward.redis.connection import connect
from selfreward.store.artifacts import ArtifactStore

HUMAN = [f"Human request {number} on subject {number * 7}" for number in range(12)]
M0 = ModelRecord(name="M0", policy_version="policy@0", artifact="runs/one/weights/M0", digest="d")


def answer(request: httpx.Request) -> httpx.Response:
    """A list of two new tasks that depend on the seed, one bad one, and one that is cut off."""
    body = json.loads(request.content)
    assert body["model"] == "policy@0"
    text = body["messages"][0]["content"]
    assert len(re.findall(r"^\d+\. \S", text, re.MULTILINE)) == 8
    first = body["seed"] % 1_000_003
    tasks = [f"Alpha{first} beta{first} gamma{first} delta{first}", f"One{first} two{first} three{first} four{first}"]
    content = f" {tasks[0]}\n10. {tasks[1]}\n11. Draw a picture of something\n12. Cut off in the"
    choice = {"index": 0, "finish_reason": "length", "message": {"content": content}}
    return httpx.Response(200, json={"choices": [choice]}, headers={VERSION_HEADER: "policy@0"})


def write(redis_url: str, store_root: str, needed: int, **options: int) -> list[str]:
    recipe = RunRecipe.model_validate(
        {
            "name": "r",
            "model": "m",
            "data": {"ift": "i", "eft": "e", "heldout": "h"},
            "prompts": {"source": "self_instruct", "self_instruct": options},
        }
    )

    async def main() -> list[str]:
        transport = httpx.MockTransport(answer)
        async with connect(redis_url) as redis, ServiceClient("http://engine", transport=transport) as service:
            settings = OrchestratorSettings(redis_url=redis_url)
            services = Services(settings, redis, ArtifactStore(store_root), GeneratorClient(service), service)
            lease = await acquire(redis, "a", 60)
            assert lease is not None
            state = RunState(run="one", recipe=recipe, recipe_hash=recipe.hash, created_at=now())
            try:
                return await write_prompts(RunContext(services, lease, state), M0, HUMAN, needed)
            finally:
                await lease.release()

    return asyncio.run(main())


def test_prompts_are_written_filtered_and_the_same_after_a_restart(redis_url: str, store_root: str) -> None:
    first = write(redis_url, store_root, 20)
    assert len(first) == len(set(first)) == 20
    assert not any("Draw" in task or "Cut off" in task for task in first)
    assert write(redis_url, store_root, 40)[:20] == first


def test_a_model_that_gives_too_few_fails_the_run_with_the_remedy(redis_url: str, store_root: str) -> None:
    with pytest.raises(RunFailed, match=r"raise prompts\.self_instruct\.max_requests"):
        write(redis_url, store_root, 500, max_requests=20)
