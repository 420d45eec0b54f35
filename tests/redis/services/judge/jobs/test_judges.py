"""Nothing of a job is lost and nothing done twice, whatever happens to the judges, the engine and Redis."""

import asyncio
from collections import Counter
from typing import Any

import httpx
from redis import Redis
from starlette.responses import JSONResponse, Response

from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, fours, running
from tests.support.judge_jobs import batch, lines, slow, wait_for, with_judge


def test_a_restart_in_mid_job_loses_and_doubles_nothing(redis_url: str) -> None:
    first, second = Engine(slow), Engine(slow)

    async def start(client: httpx.AsyncClient) -> str:
        location = str((await client.post("/v1/jobs", json=batch(1200))).headers["location"])
        await wait_for(client, location, "running", judged=100)
        return location

    async def finish(client: httpx.AsyncClient, location: str) -> list[dict[str, Any]]:
        before = (await client.get(location)).json()
        assert before["state"] == "running"
        assert 100 <= before["judged"] < 1200
        early = lines(await client.get(before["results"]))
        job = await wait_for(client, location, "done")
        assert (job["judged"], job["judge_versions"]) == (1200, {"policy@7": 1200})
        results = lines(await client.get(job["results"]))
        assert results[: len(early)] == early
        return results

    location = with_judge(redis_url, first, start)
    results = with_judge(redis_url, second, lambda client: finish(client, location))

    assert [result["index"] for result in results] == list(range(1200))
    assert len(second.bodies) <= 1100, "what had a result was not judged again"


def test_two_replicas_share_a_job(redis_url: str) -> None:
    engines = (Engine(slow), Engine(slow))

    async def scenario() -> list[dict[str, Any]]:
        async with (
            running(engines[0], redis_url=redis_url, judge_concurrency=32) as one,
            running(engines[1], redis_url=redis_url, judge_concurrency=32) as other,
        ):
            location = (await one.post("/v1/jobs", json=batch(600))).headers["location"]
            job = await wait_for(other, location, "done")
            assert job["judged"] == 600
            return lines(await other.get(job["results"]))

    results = asyncio.run(scenario())

    assert [result["index"] for result in results] == list(range(600))
    requests = Counter(sent["messages"][0]["content"] for engine in engines for sent in engine.bodies)
    assert (len(requests), set(requests.values())) == (600, {1})
    assert min(len(engine.bodies) for engine in engines) >= 64


def test_an_engine_that_is_away_is_waited_for(redis_url: str) -> None:
    def away_at_first(sent: dict[str, Any]) -> Response:
        return JSONResponse({"error": "starting"}, 503) if len(engine.bodies) < 10 else fours(sent)

    engine = Engine(away_at_first)

    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(2))).headers["location"]
        assert (await wait_for(client, location, "done", "failed"))["state"] == "done"

    with_judge(redis_url, engine, check, judge_engine_attempts=1)


def test_a_job_whose_rubric_is_gone_fails_and_says_so(redis_url: str, tmp_path: Any) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rubric.toml").write_text('title = "Mine"\n')
    (folder / "template.txt").write_text("{prompt} | {response}")

    async def never(_: dict[str, Any]) -> Response:
        await asyncio.sleep(60)
        return JSONResponse({})

    async def start(client: httpx.AsyncClient) -> str:
        taken = await client.post("/v1/jobs", json=batch(1, rubric="mine"))
        await wait_for(client, taken.headers["location"], "running")
        return str(taken.headers["location"])

    async def look(client: httpx.AsyncClient) -> dict[str, Any]:
        return await wait_for(client, location, "failed")

    location = with_judge(redis_url, Engine(never), start, judge_rubrics=tmp_path)
    job = with_judge(redis_url, Engine(), look)

    assert job["error"].startswith("rubric 'mine@sha256:")
    assert job["judged"] == 0


def test_a_chunk_that_ends_every_judge_fails_its_job(redis_url: str) -> None:
    async def never(_: dict[str, Any]) -> Response:
        await asyncio.sleep(60)
        return JSONResponse({})

    async def start(client: httpx.AsyncClient) -> str:
        location = str((await client.post("/v1/jobs", json=batch(1))).headers["location"])
        await wait_for(client, location, "running")
        return location

    location = with_judge(redis_url, Engine(never), start)
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        stream = "selfreward:judge-jobs"
        (entry,) = redis.xpending_range(stream, "workers", "-", "+", 10)
        redis.xclaim(stream, "workers", "dead", 0, [entry["message_id"]], retrycount=5)
    job = with_judge(redis_url, Engine(), lambda client: wait_for(client, location, "failed"))

    assert job["error"].startswith("5 judges took items 0 to 0 and none finished")


def test_a_full_redis_is_waited_for_and_nothing_is_judged_twice(each_redis_url: str) -> None:
    engine = Engine(slow)

    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(1200))).headers["location"]
        await wait_for(client, location, "running", judged=32)
        with Redis.from_url(each_redis_url) as redis:
            try:
                redis.config_set("maxmemory", 1)
                await asyncio.sleep(3)  # longer than all deliveries of a chunk that is given back
            finally:
                redis.config_set("maxmemory", 0)
        assert (await wait_for(client, location, "done", "failed"))["state"] == "done"
        assert len(engine.bodies) == 1200

    with_judge(each_redis_url, engine, check, judge_concurrency=32)


def test_the_judge_starts_with_jobs_left_by_another(redis_url: str) -> None:
    """The worker of one judge is stopped in the middle of its start-up, and nothing is left behind."""

    async def scenario() -> None:
        for _ in range(3):
            app = create_app(JudgeSettings(redis_url=redis_url))
            async with app.router.lifespan_context(app):
                await asyncio.sleep(0)

    asyncio.run(scenario())
