"""Jobs and the keys that job_ids them: who sees them, what a key may submit, and whose turns a job takes."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from starlette.responses import Response

from selfreward import JudgeClient
from tests.support.access import bearer, keys_file
from tests.support.judge_engine import Engine, fours, message, running
from tests.support.judge_jobs import batch, slow, wait_for, with_judge
from tests.support.listening import listening_judge


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


def test_a_keys_jobs_are_listed_the_newest_first(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, alice="", bob="", boss='scopes = ["judge", "admin"]')

    async def check(client: httpx.AsyncClient) -> None:
        async def listed(key: str, **query: int) -> list[dict[str, Any]]:
            answer = await client.get("/v1/jobs", params=query, headers=bearer(key))
            assert answer.status_code == 200, answer.text
            return list(answer.json()["data"])

        assert await listed("alice") == []
        job_ids = []
        for count in (1, 2, 3):
            taken = await client.post("/v1/jobs", json=batch(count), headers=bearer("alice"))
            job_ids.append(taken.json()["id"])
        theirs = (await client.post("/v1/jobs", json=batch(1), headers=bearer("boss"))).json()["id"]

        assert [job["id"] for job in await listed("alice")] == job_ids[::-1]
        assert [job["items"] for job in await listed("alice", limit=2)] == [3, 2]
        assert [job["id"] for job in await listed("boss")] == [theirs]
        assert await listed("bob") == []
        with Redis.from_url(redis_url) as redis:
            redis.delete(f"selfreward:judge-job:{job_ids[2]}")  # as when it expires
        assert [job["id"] for job in await listed("alice", limit=1)] == [job_ids[1]]
        wide = await client.get("/v1/jobs", params={"limit": 101}, headers=bearer("alice"))
        assert (wide.status_code, wide.json()["error"]["param"]) == (422, "limit")

    with_judge(redis_url, Engine(), check, keys=keys)


def test_only_the_newest_hundred_are_listed_and_the_list_expires(redis_url: str) -> None:
    async def check(client: httpx.AsyncClient) -> None:
        job_ids = [(await client.post("/v1/jobs", json=batch(1))).json()["id"] for _ in range(103)]
        listed = (await client.get("/v1/jobs", params={"limit": 100})).json()["data"]
        assert [job["id"] for job in listed] == job_ids[:2:-1]
        with Redis.from_url(redis_url) as redis:
            redis.expire("selfreward:judge-jobs-of:anyone", 5)
            await wait_for(client, f"/v1/jobs/{job_ids[-1]}", "done")
            location = (await client.post("/v1/jobs", json=batch(1))).headers["location"]
            redis.expire("selfreward:judge-jobs-of:anyone", 5)
            await wait_for(client, location, "done")
            assert 5 < int(str(redis.ttl("selfreward:judge-jobs-of:anyone"))) <= 600

    with_judge(redis_url, Engine(), check, judge_job_keep_seconds=600)


def test_the_client_lists_jobs(redis_url: str) -> None:
    with listening_judge(Engine(), redis_url=redis_url) as url, JudgeClient(url) as client:
        sent = [httpx.post(f"{url}/v1/jobs", json=batch(count)).json()["id"] for count in (1, 2)]

        assert [job.id for job in client.jobs()] == sent[::-1]
        assert [job.items for job in client.jobs(limit=1)] == [2]


def test_submitting_counts_against_the_keys_rate_and_size(redis_url: str, tmp_path: Path) -> None:
    limits = "rate = { items_per_second = 0.5, burst = 4 }\njob_items = 20"
    keys = keys_file(tmp_path, slow=limits, free="")

    async def check(client: httpx.AsyncClient) -> None:
        async def send(key: str, items: int, path: str = "/v1/jobs") -> httpx.Response:
            return await client.post(path, json=batch(items), headers=bearer(key))

        too_large = await send("slow", 21)
        assert (too_large.status_code, too_large.json()["error"]["param"]) == (422, "items")
        assert "items has 21 entries, 20 are allowed" in message(too_large)
        assert (await send("slow", 1)).status_code == 202
        assert (await send("slow", 3, "/v1/judge")).status_code == 200
        empty = await send("slow", 20)
        assert (empty.status_code, empty.json()["error"]["code"]) == (429, "rate_limit")
        assert empty.headers["retry-after"] == "8", "a job takes the whole burst at most"
        assert (await send("free", 21)).status_code == 202

    with_judge(redis_url, Engine(), check, keys=keys)


def test_a_job_takes_the_turns_of_its_key(redis_url: str, tmp_path: Path) -> None:
    """Two keys have half of the engine each, however many jobs and requests one of them has."""
    keys = keys_file(tmp_path, alice="", bob="")

    begun = {"job": asyncio.Event(), "bulk": asyncio.Event()}

    async def reply(sent: dict[str, Any]) -> Response:
        for name, event in begun.items():
            if name in sent["messages"][0]["content"]:
                event.set()
        await asyncio.sleep(0.01)
        return fours(sent)

    engine = Engine(reply)

    def requests_of(name: str) -> int:
        return sum(name in sent["messages"][0]["content"] for sent in engine.bodies)

    def named(count: int, name: str) -> dict[str, Any]:
        items = [{"prompt": "p", "response": f"{name} {index}"} for index in range(count)]
        return {"rubric": "countdown", "items": items}

    async def scenario() -> None:
        async with running(engine, redis_url=redis_url, judge_concurrency=2, keys=keys) as client:
            job = await client.post("/v1/jobs", json=named(400, "job"), headers=bearer("alice"))
            assert job.status_code == 202
            await begun["job"].wait()
            bulk = asyncio.create_task(client.post("/v1/judge", json=named(400, "bulk"), headers=bearer("alice")))
            await begun["bulk"].wait()
            before = requests_of("job") + requests_of("bulk")
            assert (await client.post("/v1/judge", json=named(40, "bob"), headers=bearer("bob"))).status_code == 200
            others = requests_of("job") + requests_of("bulk") - before
            assert requests_of("bob") == 40
            assert 35 <= others <= 50
            bulk.cancel()

    asyncio.run(scenario())
