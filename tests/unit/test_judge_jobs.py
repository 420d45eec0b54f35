"""Asynchronous jobs on a real Redis: nothing lost, nothing twice, whatever happens to the judges."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from starlette.responses import JSONResponse, Response

from services.judge.app import create_app
from services.judge.jobs_store import page
from services.judge.settings import JudgeSettings
from tests.unit.judge_engine import Engine, completion, fours, message, running
from tests.unit.test_judge_keys import bearer, keys_file

Check = Callable[[httpx.AsyncClient], Awaitable[Any]]


def batch(count: int, **fields: Any) -> dict[str, Any]:
    items = [{"prompt": "p", "response": f"answer {index}"} for index in range(count)]
    return {"rubric": "countdown", "items": items, **fields}


async def slow(sent: dict[str, Any]) -> Response:
    await asyncio.sleep(0.05)
    return fours(sent)


def with_judge(url: str, engine: Engine, check: Check, **settings: Any) -> Any:
    async def scenario() -> Any:
        async with running(engine, redis_url=url, judge_job_claim_seconds=0.3, **settings) as client:
            return await check(client)

    return asyncio.run(scenario())


async def wait_for(client: httpx.AsyncClient, path: str, *states: str, judged: int = 0) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = (await client.get(path)).json()
        if job["state"] in states and job["judged"] >= judged:
            return job
        assert time.monotonic() < deadline, job
        await asyncio.sleep(0.02)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.split("\n")[:-1]]


def test_a_job_is_judged_and_its_results_are_in_order(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        items = batch(100)
        items["items"][40] |= {"id": "mine", "response": "\u2028 a line\x85 break"}
        taken = await client.post("/v1/jobs", json=items)
        assert taken.status_code == 202
        job = taken.json()
        assert (job["state"], job["items"], job["judged"], job["finished_at"]) == ("queued", 100, 0, None)
        assert taken.headers["location"] == f"/v1/jobs/{job['id']}"
        done = await wait_for(client, taken.headers["location"], "done")
        assert (done["judged"], done["unscored"], done["judge_versions"]) == (100, 0, {"policy@7": 100})
        assert done["rubric"].startswith("countdown@sha256:")
        assert done["finished_at"] >= done["created_at"]

        answer = await client.get(done["results"])
        results = lines(answer)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert (answer.headers["x-next-offset"], answer.headers["x-job-state"]) == ("100", "done")
        assert [result["index"] for result in results] == list(range(100))
        assert [result["id"] for result in results[39:42]] == ["39", "mine", "41"]
        assert {result["score"] for result in results} == {4.0}
        assert {len(result["votes"]) for result in results} == {3}
        assert {result["judge_version"] for result in results} == {"policy@7"}

        paged = lines(await client.get(done["results"], params={"offset": 30, "limit": 40}))
        assert paged == results[30:70]
        past = await client.get(done["results"], params={"offset": 100})
        assert (lines(past), past.headers["x-next-offset"]) == ([], "100")

    with_judge(redis_url, Engine(), check)


def test_unscored_items_are_counted_and_have_no_score(redis_url: str) -> None:
    engine = Engine(lambda sent: completion(*["no idea" if "answer 1" in str(sent) else "Score: 2"] * sent["n"]))

    async def check(client: httpx.AsyncClient) -> None:
        job = await wait_for(client, (await client.post("/v1/jobs", json=batch(3))).headers["location"], "done")
        assert (job["judged"], job["unscored"]) == (3, 1)
        results = lines(await client.get(job["results"]))
        assert [result["score"] for result in results] == [2.0, None, 2.0]
        assert results[1]["failure_kind"] == "unparsed"

    with_judge(redis_url, engine, check)


def test_a_restart_in_mid_job_loses_and_doubles_nothing(redis_url: str) -> None:
    first, second = Engine(slow), Engine(slow)

    async def start(client: httpx.AsyncClient) -> str:
        location = str((await client.post("/v1/jobs", json=batch(1000))).headers["location"])
        await wait_for(client, location, "running", judged=100)
        return location

    async def finish(client: httpx.AsyncClient, location: str) -> list[dict[str, Any]]:
        before = (await client.get(location)).json()
        assert before["state"] == "running"
        assert 100 <= before["judged"] < 1000
        early = lines(await client.get(before["results"]))
        job = await wait_for(client, location, "done")
        assert (job["judged"], job["judge_versions"]) == (1000, {"policy@7": 1000})
        results = lines(await client.get(job["results"]))
        assert results[: len(early)] == early
        return results

    location = with_judge(redis_url, first, start)
    results = with_judge(redis_url, second, lambda client: finish(client, location))

    assert [result["index"] for result in results] == list(range(1000))
    assert len(second.bodies) <= 900, "what had a result was not judged again"


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
    asked = Counter(sent["messages"][0]["content"] for engine in engines for sent in engine.bodies)
    assert (len(asked), set(asked.values())) == (600, {1})
    assert min(len(engine.bodies) for engine in engines) >= 64


def test_cancelling_stops_the_work_and_keeps_the_results(redis_url: str) -> None:
    engine = Engine(slow)

    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(2000))).headers["location"]
        await wait_for(client, location, "running", judged=32)
        cancelled = (await client.delete(location)).json()
        assert (cancelled["state"], (await client.delete(location)).json()) == ("cancelled", cancelled)
        await asyncio.sleep(0.5)
        asked = len(engine.bodies)
        assert asked < 1000
        await asyncio.sleep(0.3)
        assert len(engine.bodies) == asked
        after = (await client.get(location)).json()
        assert after == cancelled
        results = lines(await client.get(after["results"]))
        assert len(results) == after["judged"]

    with_judge(redis_url, engine, check, judge_concurrency=32)


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


def test_an_interactive_request_does_not_wait_for_a_job(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(1500))).headers["location"]
        await wait_for(client, location, "running")
        for _ in range(5):
            assert (await client.post("/v1/judge", json=batch(4))).status_code == 200
        assert (await client.get(location)).json()["state"] == "running"
        await client.delete(location)

    with_judge(redis_url, Engine(slow), check, judge_concurrency=8)


def test_a_full_redis_is_waited_for_and_nothing_is_judged_twice(redis_url: str) -> None:
    engine = Engine(slow)

    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(200))).headers["location"]
        await wait_for(client, location, "running", judged=32)
        with Redis.from_url(redis_url) as redis:
            try:
                redis.config_set("maxmemory", 1)
                await asyncio.sleep(3)  # longer than all deliveries of a chunk that is given back
            finally:
                redis.config_set("maxmemory", 0)
        assert (await wait_for(client, location, "done", "failed"))["state"] == "done"
        assert len(engine.bodies) == 200

    with_judge(redis_url, engine, check, judge_concurrency=32)


def test_jobs_expire(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(40))).headers["location"]
        await wait_for(client, location, "done")
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            kept = {key: redis.ttl(key) for key in redis.keys("selfreward:judge-job:*")}
            assert len(kept) == 2, "job and results; the items are gone"
            assert all(0 < seconds <= 600 for seconds in kept.values())

    with_judge(redis_url, Engine(), check, judge_job_keep_seconds=600)


def test_an_unknown_job_is_404(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            answer = await client.request(method, f"/v1/jobs/job-nosuch{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")

    with_judge(redis_url, Engine(), check)


def test_a_job_is_there_for_its_own_key_and_for_admins(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, alice="", bob="", boss='scopes = ["judge", "admin"]')

    async def check(client: httpx.AsyncClient) -> None:
        async def ask(method: str, path: str, key: str) -> httpx.Response:
            return await client.request(method, path, headers=bearer(key))

        async def hidden(key: str) -> None:
            """Every answer about the job is the one that a job gives that never was, but for its id."""
            for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
                answer = await ask(method, f"{location}{path}", key)
                nothing = await ask(method, f"/v1/jobs/job-nosuch{path}", key)
                assert answer.status_code == 404
                assert answer.text == nothing.text.replace("job-nosuch", location.rpartition("/")[2])

        taken = await client.post("/v1/jobs", json=batch(2000), headers=bearer("alice"))
        location = taken.headers["location"]
        await hidden("bob")
        for key in ("alice", "boss"):
            assert (await ask("GET", location, key)).json()["state"] in ("queued", "running")
            assert (await ask("GET", f"{location}/results", key)).status_code == 200
        assert (await ask("DELETE", location, "boss")).json()["state"] == "cancelled"
        await hidden("bob")

        theirs = (await client.post("/v1/jobs", json=batch(2000), headers=bearer("boss"))).headers["location"]
        location = theirs
        await hidden("alice")
        assert (await ask("GET", theirs, "boss")).json()["state"] in ("queued", "running")
        assert (await ask("DELETE", theirs, "boss")).json()["state"] == "cancelled"

    with_judge(redis_url, Engine(slow), check, keys=keys)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (batch(1, rubric="nosuch"), 404, "rubric 'nosuch'"),
        (batch(0), 422, "items"),
        (batch(1, policy="newest"), 422, "policy@N"),
        (batch(1, vote=1), 422, "vote is not a field"),
    ],
)
def test_a_bad_job_is_refused_at_once(redis_url: str, body: Any, status: int, words: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/jobs", json=body)
        assert answer.status_code == status
        assert words in message(answer)

    with_judge(redis_url, Engine(), check)


def test_without_redis_jobs_are_503_and_judging_works() -> None:
    async def check(client: httpx.AsyncClient) -> None:
        answer = await client.post("/v1/jobs", json=batch(1))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "SELFREWARD_REDIS_URL" in message(answer)
        assert (await client.post("/v1/judge", json=batch(1))).status_code == 200

    with_judge("redis://127.0.0.1:9/0", Engine(), check)


def test_pages() -> None:
    ready = [range(4), range(4, 8), range(8, 9)]

    assert page(ready, 0, None) == ready
    assert page(ready, 3, 4) == [range(3, 4), range(4, 7)]
    assert page(ready, 9, None) == []
    assert page([range(4, 8)], 0, 2) == [range(4, 6)]


def test_the_judge_starts_with_jobs_left_by_another(redis_url: str) -> None:
    """The worker of one judge is stopped in the middle of its start-up, and nothing is left behind."""

    async def scenario() -> None:
        for _ in range(3):
            app = create_app(JudgeSettings(redis_url=redis_url))
            async with app.router.lifespan_context(app):
                await asyncio.sleep(0)

    asyncio.run(scenario())
