"""Batches for tests: OpenAI's client on a judge, lines to send, and waiting for what becomes of them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI
from openai.types import Batch

from tests.support.judge_engine import Engine, running


@asynccontextmanager
async def openai_client(url: str, engine: Engine, api_key: str = "none", **settings: Any) -> AsyncIterator[AsyncOpenAI]:
    """The client of the package `openai` on a judge whose Redis is at `url`."""
    async with running(engine, redis_url=url, judge_job_claim_seconds=0.3, **settings) as client:
        yield AsyncOpenAI(api_key=api_key, base_url="http://judge/v1", http_client=client, max_retries=0)


def judge_line(name: str, response: str = "xxx", **fields: Any) -> dict[str, Any]:
    body = {"rubric": "countdown", "items": [{"prompt": "p", "response": response}], **fields}
    return {"custom_id": name, "method": "POST", "url": "/v1/judge", "body": body}


def file_of(*lines: Any) -> tuple[str, bytes]:
    """A file to upload: JSON values, or strings as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return "lines.jsonl", "".join(f"{text}\n" for text in texts).encode()


async def start(client: AsyncOpenAI, *lines: Any, endpoint: Any = "/v1/judge", **fields: Any) -> Batch:
    file = await client.files.create(file=file_of(*lines), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **fields)


async def ended(client: AsyncOpenAI, batch: Batch, *, completed: int | None = None) -> Batch:
    """The batch once it has ended, or so many lines are answered."""
    deadline = time.monotonic() + 60
    while True:
        now = await client.batches.retrieve(batch.id)
        assert now.request_counts is not None
        if now.status not in ("validating", "in_progress") or now.request_counts.completed >= (completed or 10**9):
            return now
        assert time.monotonic() < deadline, now
        await asyncio.sleep(0.02)


async def read(client: AsyncOpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(line) for line in (await client.files.content(file_id)).text.split("\n")[:-1]]
