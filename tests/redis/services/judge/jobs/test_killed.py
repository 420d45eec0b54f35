"""A job outlives its judge: real processes and a real Redis, and a SIGKILL in the middle of the work."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.responses import Response

from selfreward.processes.child import free_port
from tests.support.judge_engine import Engine, completion
from tests.support.listening import listening

ITEMS = 320
STORED = 96
"""Items whose three chunks are judged before the kill; the next ones are in hand then."""


@contextmanager
def judge_process(engine: str, redis: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A judge of its own process, once it answers, and a client of it."""
    port = free_port()
    settings = {
        "SELFREWARD_PORT": str(port),
        "SELFREWARD_GENERATOR_URL": engine,
        "SELFREWARD_REDIS_URL": redis,
        "SELFREWARD_JUDGE_JOB_CLAIM_SECONDS": "1",
        "SELFREWARD_JUDGE_DRAIN_NOTICE": "0",
    }
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-m", "services.judge"], env=os.environ | settings, stderr=errors)
    with process, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            deadline = time.monotonic() + 60
            while not answers(client):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield process, client
        finally:
            process.terminate()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


def wait_for(client: httpx.Client, location: str, judged: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        job: dict[str, Any] = client.get(location).json()
        if job.get("judged", job.get("request_counts", {}).get("completed")) >= judged:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def asked_about(sent: dict[str, Any]) -> int:
    (number,) = re.findall(r"answer (\d+)", sent["messages"][0]["content"])
    return int(number)


def holding_engine() -> tuple[Engine, threading.Event, threading.Event]:
    """An engine that holds items back until the judge is killed, whether it holds some, and whether that is so."""
    held, killed = threading.Event(), threading.Event()

    async def reply(sent: dict[str, Any]) -> Response:
        index = asked_about(sent)
        while index >= STORED and index % 5 == 0 and not killed.is_set():
            held.set()
            await asyncio.sleep(0.01)  # so that no chunk after the third one ends before the kill
        return completion(*[f"Score: {index % 6}"] * sent["n"])

    return Engine(reply), held, killed


def test_a_batch_survives_the_sigkill_of_its_judge(redis_url: str, tmp_path: Path) -> None:
    engine, held, killed = holding_engine()
    items = [{"prompt": "p", "response": f"answer {index}"} for index in range(ITEMS)]
    lines = [
        {"custom_id": str(at), "method": "POST", "url": "/v1/judge", "body": {"rubric": "countdown", "items": [item]}}
        for at, item in enumerate(items)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    with listening(engine.app) as engine_url:
        with judge_process(engine_url, redis_url, tmp_path / "first.log") as (process, client):
            file = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("night.jsonl", text)}).json()
            request = {"input_file_id": file["id"], "endpoint": "/v1/judge", "completion_window": "24h"}
            location = f"/v1/batches/{client.post('/v1/batches', json=request).json()['id']}"
            before = wait_for(client, location, STORED)
            assert held.wait(timeout=60)
            process.kill()
            process.wait(timeout=10)
        killed.set()
        with judge_process(engine_url, redis_url, tmp_path / "second.log") as (_, client):
            batch = wait_for(client, location, ITEMS)
            answer = client.get(f"/v1/files/{batch['output_file_id']}/content")

    assert (before["status"], before["request_counts"]["completed"]) == ("in_progress", STORED)
    assert (batch["status"], batch["error_file_id"]) == ("completed", None)
    answers = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["custom_id"] for line in answers] == [str(index) for index in range(ITEMS)]
    scores = [line["response"]["body"]["data"][0]["score"] for line in answers]
    assert scores == [index % 6 for index in range(ITEMS)]
    requests = Counter(asked_about(sent) for sent in engine.bodies)
    assert {requests[index] for index in range(STORED)} == {1}, "what has an answer is not asked again"


def test_a_job_survives_the_sigkill_of_its_judge(redis_url: str, tmp_path: Path) -> None:
    engine, held, killed = holding_engine()
    items = [{"prompt": "p", "response": f"answer {index}"} for index in range(ITEMS)]
    with listening(engine.app) as engine_url:
        with judge_process(engine_url, redis_url, tmp_path / "first.log") as (process, client):
            taken = client.post("/v1/jobs", json={"rubric": "countdown", "items": items})
            location = taken.headers["location"]
            before = wait_for(client, location, STORED)
            assert held.wait(timeout=60)
            process.kill()
            process.wait(timeout=10)
        killed.set()
        with judge_process(engine_url, redis_url, tmp_path / "second.log") as (_, client):
            job = wait_for(client, location, ITEMS)
            answer = client.get(job["results"])

    assert (before["state"], before["judged"]) == ("running", STORED)
    assert (job["state"], job["judged"], job["unscored"]) == ("done", ITEMS, 0)
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [(result["index"], result["id"]) for result in results] == [(i, str(i)) for i in range(ITEMS)]
    assert [result["score"] for result in results] == [index % 6 for index in range(ITEMS)]
    requests = Counter(asked_about(sent) for sent in engine.bodies)
    assert {requests[index] for index in range(STORED)} == {1}, "what has a result is not judged again"
    assert 2 in requests.values(), "the kill came while items were in hand, and they were taken over"
