"""Answers kept in a real Redis: found for the same question of the same version, and for nothing else."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from redis import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from selfreward.redis.connection import connect_briefly
from services.judge.engine.cache import ResultCache
from tests.support.judge_engine import Engine, body, completion, fours, running


class Versioned(Engine):
    """An engine that serves `version`, says so in its list of models, and numbers its answers."""

    def __init__(self, version: int = 3) -> None:
        super().__init__(self.answer)
        self.version = version
        self.listed = True

    async def answer(self, sent: dict[str, Any]) -> Response:
        """Every answer differs, so that a kept one is known by its text."""
        if sent["model"] not in ("policy", f"policy@{self.version}"):
            return JSONResponse({"error": f"serving policy@{self.version}"}, 409)
        return completion(*[f"{len(self.bodies)}. Score: 4"] * sent["n"], version=f"policy@{self.version}")

    async def models(self, _: Request) -> Response:
        """The alias, and the version unless told to keep quiet about it."""
        names = ["policy", f"policy@{self.version}"] if self.listed else ["policy"]
        return JSONResponse({"object": "list", "data": [{"id": name} for name in names]})


def counted(result: str) -> float:
    return REGISTRY.get_sample_value("selfreward_judge_cache_total", {"result": result}) or 0


async def settle() -> None:
    """Let what is written in the background be written."""
    others = [task for task in asyncio.all_tasks() if "ResultCache" in str(task.get_coro())]
    if others:
        _, unfinished = await asyncio.wait(others, timeout=30)
        assert not unfinished


async def texts(client: httpx.AsyncClient, mode: str | None = None, **fields: Any) -> Sequence[str]:
    """The votes' texts of a request of two items, after the cache has settled."""
    headers = {"X-Selfreward-Cache": mode} if mode else {}
    answer = await client.post("/v1/judge", json=body("a", "b", **fields), headers=headers)
    assert answer.status_code == 200, answer.text
    await settle()
    return [vote["text"] for judgment in answer.json()["data"] for vote in judgment["votes"]]


def test_the_same_question_is_asked_once(redis_url: str) -> None:
    async def scenario() -> None:
        engine = Versioned()
        hits = counted("hit")
        async with running(engine, redis_url=redis_url) as client:
            first = await texts(client, seed=1)
            again = await texts(client, seed=1)
            assert again == first
            assert (len(engine.bodies), counted("hit") - hits) == (2, 2)
            for other in ({"seed": 2}, {"seed": 1, "votes": 2}, {"seed": 1, "temperature": 0.1}, {"seed": 1}):
                await texts(client, **{"rubric": "additive5", **other} if other == {"seed": 1} else other)
            assert len(engine.bodies) == 10
        async with running(engine, redis_url=redis_url) as client:
            assert await texts(client, seed=1) == first  # another replica finds it too

    asyncio.run(scenario())


def test_a_batch_is_partly_kept_and_partly_asked(redis_url: str) -> None:
    async def scenario() -> list[str]:
        engine = Versioned()
        async with running(engine, redis_url=redis_url) as client:
            await client.post("/v1/judge", json=body("a", seed=1))
            await settle()
            await client.post("/v1/judge", json=body("a", "b", "c", seed=1))
        return [sent["messages"][0]["content"][-1] for sent in engine.bodies]

    assert sorted(asyncio.run(scenario())) == ["a", "b", "c"]


def test_without_a_seed_every_sample_is_fresh_unless_asked_otherwise(redis_url: str) -> None:
    async def scenario() -> None:
        engine = Versioned()
        async with running(engine, redis_url=redis_url) as client:
            first, second = await texts(client), await texts(client)
            assert first != second
            cached = await texts(client, "use")
            assert await texts(client, "use") == cached
            fresh = await texts(client, "refresh")
            assert fresh != cached
            assert await texts(client, "use") == fresh
            assert await texts(client, "off") != fresh
            assert await texts(client, "off", seed=5) != await texts(client, "off", seed=5)

    asyncio.run(scenario())


def test_another_version_is_never_served(redis_url: str) -> None:
    async def scenario() -> None:
        engine = Versioned(3)
        async with running(engine, redis_url=redis_url) as client:
            by_3 = await texts(client, seed=1)
            engine.version = 4
            by_4 = await texts(client, seed=1)
            assert by_4 != by_3
            assert await texts(client, seed=1) == by_4
            requests = len(engine.bodies)
            assert await texts(client, seed=1, policy="policy@3") == by_3  # pinned: what it said stands
            assert len(engine.bodies) == requests
            other = await client.post("/v1/judge", json=body("a", seed=9, policy="policy@3"))
            assert other.status_code == 409

    asyncio.run(scenario())


def test_a_swap_between_looking_and_asking_judges_all_by_the_new_version(redis_url: str) -> None:
    class Swapping(Versioned):
        async def models(self, request: Request) -> Response:
            """The version that is replaced right after it was told."""
            answer = await super().models(request)
            self.version = 4
            return answer

    async def scenario() -> None:
        engine = Swapping(3)
        async with running(engine, redis_url=redis_url) as client:
            await client.post("/v1/judge", json=body("a", seed=1, policy="policy@3"))
            await settle()
            answer = await client.post("/v1/judge", json=body("a", "b", seed=1))
            assert answer.json()["judge_version"] == "policy@4"
            assert [sent["model"] for sent in engine.bodies] == ["policy@3", "policy", "policy@4"]

    asyncio.run(scenario())


def test_an_engine_without_versions_is_not_remembered(redis_url: str) -> None:
    async def scenario() -> None:
        engine = Versioned()
        engine.listed = False
        engine.reply = lambda sent: completion(*["Score: 4"] * sent["n"], version=None)
        before = counted("unversioned")
        async with running(engine, redis_url=redis_url) as client:
            await texts(client, seed=1)
            await texts(client, "use", seed=1)
        assert len(engine.bodies) == 4
        assert counted("unversioned") - before == 4

    asyncio.run(scenario())


@pytest.mark.parametrize("votes", [("Score: 4", "Score: 4"), ()])
def test_votes_that_failed_are_never_kept(redis_url: str, votes: tuple[str, ...]) -> None:
    async def scenario() -> None:
        engine = Versioned()
        broken = completion(*votes, version="policy@3") if votes else completion(*["x"] * 3, finish="abort")
        engine.reply = lambda _: broken
        async with running(engine, redis_url=redis_url) as client:
            await texts(client, seed=1)
            engine.reply = fours
            assert await texts(client, seed=1) == ["Fine. Score: 4"] * 6

    asyncio.run(scenario())


def test_kept_answers_expire_and_can_be_switched_off(redis_url: str) -> None:
    async def scenario(seconds: int) -> int:
        engine = Versioned()
        async with running(engine, redis_url=redis_url, judge_cache_seconds=seconds) as client:
            await texts(client, seed=1)
            with Redis.from_url(redis_url) as redis:
                assert all(0 < redis.ttl(key) <= 77 for key in redis.scan_iter("selfreward:judge:answer:*"))
            await texts(client, seed=1)
        return len(engine.bodies)

    assert asyncio.run(scenario(77)) == 2
    assert asyncio.run(scenario(0)) == 4


def test_reads_of_one_moment_are_one_command(redis_url: str) -> None:
    async def scenario() -> None:
        redis = connect_briefly(redis_url)
        cache = ResultCache(redis, 60)
        for index in range(100):
            cache.put(str(index), b"x" * index)
        await settle()
        before = int((await redis.info("commandstats"))["cmdstat_mget"]["calls"]) if await redis.mget(["a"]) else 0
        values = await asyncio.gather(*(cache.get(str(index)) for index in [*range(101), 7]))
        after = int((await redis.info("commandstats"))["cmdstat_mget"]["calls"])
        await cache.close()
        assert values == [*(b"x" * index for index in range(100)), None, b"x" * 7]
        assert after - before == 1

    asyncio.run(scenario())
