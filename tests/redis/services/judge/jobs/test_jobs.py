"""Asynchronous jobs on a real Redis: results in order, pages, cancelling, and what is refused."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from starlette.responses import Response

from tests.support.judge_engine import Engine, completion, message, running
from tests.support.judge_jobs import batch, lines, slow, wait_for, with_judge
from tests.support.jury import TABLE, Hosts, a_rubric, saying


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


def test_a_jury_judges_a_job_although_one_of_its_engines_is_away(redis_url: str, tmp_path: Path) -> None:
    async def scenario() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        settings: dict[str, Any] = {"judge_engines": SecretStr(TABLE), "judge_rubrics": a_rubric(tmp_path)}
        network = Hosts(large=saying("Score: 3"))
        async with running(None, network, redis_url=redis_url, judge_engine_attempts=1, **settings) as client:
            taken = await client.post("/v1/jobs", json=batch(3, rubric="jury", votes=1))
            job = await wait_for(client, taken.headers["location"], "done")
            return job, lines(await client.get(job["results"]))

    job, results = asyncio.run(scenario())

    assert job["judge_versions"] == {"small=unknown, large=large-judge": 3}
    assert [result["score"] for result in results] == [3, 3, 3]
    assert [(vote["engine"], vote["status"]) for vote in results[0]["votes"]] == [("small", "error"), ("large", "ok")]


def test_cancelling_stops_the_work_and_keeps_the_results(redis_url: str) -> None:
    engine = Engine(slow)

    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(2000))).headers["location"]
        await wait_for(client, location, "running", judged=32)
        cancelled = (await client.delete(location)).json()
        assert (cancelled["state"], (await client.delete(location)).json()) == ("cancelled", cancelled)
        await asyncio.sleep(0.5)
        requests = len(engine.bodies)
        assert requests < 1000
        await asyncio.sleep(0.3)
        assert len(engine.bodies) == requests
        after = (await client.get(location)).json()
        assert after == cancelled
        results = lines(await client.get(after["results"]))
        assert len(results) == after["judged"]

    with_judge(redis_url, engine, check, judge_concurrency=32)


def test_an_interactive_request_does_not_wait_for_a_job(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(1500))).headers["location"]
        await wait_for(client, location, "running")
        for _ in range(5):
            assert (await client.post("/v1/judge", json=batch(4))).status_code == 200
        assert (await client.get(location)).json()["state"] == "running"
        await client.delete(location)

    with_judge(redis_url, Engine(slow), check, judge_concurrency=8)


def test_jobs_expire(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        location = (await client.post("/v1/jobs", json=batch(40))).headers["location"]
        await wait_for(client, location, "done")
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            lifetimes = {key: redis.ttl(key) for key in redis.keys("selfreward:judge-job:*")}
            assert len(lifetimes) == 2, "job and results; the items are gone"
            assert all(0 < seconds <= 600 for seconds in lifetimes.values())

    with_judge(redis_url, Engine(), check, judge_job_keep_seconds=600)


def test_an_unknown_job_is_404(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            answer = await client.request(method, f"/v1/jobs/job-nosuch{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")

    with_judge(redis_url, Engine(), check)


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


def test_odd_answers_of_the_engine_never_fail_a_job(redis_url: str) -> None:
    odd = [b"<html>", b"{}", b'{"error": "x"}', b'{"choices": [{"message": {"content": "\\ud800"}}]}', b"\xff"]

    def reply(_: dict[str, Any]) -> Response:
        return Response(odd[len(engine.bodies) % len(odd)])

    async def check(client: httpx.AsyncClient) -> None:
        taken = await client.post("/v1/jobs", json=batch(10))
        done = await wait_for(client, taken.headers["location"], "done", "failed")
        assert (done["state"], done["judged"], done["unscored"]) == ("done", 10, 10)
        kinds = {result["failure_kind"] for result in lines(await client.get(done["results"]))}
        assert kinds <= {"error", "unparsed"}

    engine = Engine(reply)
    with_judge(redis_url, engine, check)


def test_a_job_whose_engine_refuses_the_key_fails_at_once_and_says_what_to_mend(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        taken = await client.post("/v1/jobs", json=batch(1))
        ended = await wait_for(client, taken.headers["location"], "done", "failed")
        assert ended["state"] == "failed"
        assert "SELFREWARD_JUDGE_ENGINE_KEY" in ended["error"]

    engine = Engine(lambda _: Response(b"no", 401))
    with_judge(redis_url, engine, check)
    assert len(engine.bodies) == 1
