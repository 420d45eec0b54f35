"""OpenAI's Batch API as its own client uses it: files, batches, what is answered and what is not."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from redis import Redis
from starlette.responses import JSONResponse, Response

from tests.support.access import keys_file
from tests.support.judge_batches import ended, file_of, judge_line, openai_client, read, start
from tests.support.judge_engine import Engine, by_length, completion
from tests.support.judge_jobs import slow

JUDGE: Any = "/v1/judge"
CHAT: Any = "/v1/chat/completions"
Check = Callable[[AsyncOpenAI], Awaitable[None]]


def with_client(url: str, engine: Engine, check: Check, **settings: Any) -> None:
    async def scenario() -> None:
        async with openai_client(url, engine, **settings) as client:
            await check(client)

    asyncio.run(scenario())


def test_every_line_is_answered_as_its_route_answers_it(redis_url: str) -> None:
    async def check(client: AsyncOpenAI) -> None:
        lines = [judge_line(f"line {number}", "x" * (number % 6)) for number in range(100)]
        lines[40]["body"]["items"][0]["response"] = "\u2028 a line\x85 break"
        batch = await start(client, *lines, metadata={"night": "1"})
        assert (batch.status, batch.metadata, batch.output_file_id) == ("validating", {"night": "1"}, None)

        batch = await ended(client, batch)
        assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 100, "completed": 100, "failed": 0}
        assert batch.created_at <= (batch.in_progress_at or 0) <= (batch.completed_at or 0) <= (batch.expires_at or 0)

        answers = await read(client, batch.output_file_id)
        assert [answer["custom_id"] for answer in answers] == [line["custom_id"] for line in lines]
        assert len({answer["id"] for answer in answers}) == 100
        assert {answer["response"]["status_code"] for answer in answers} == {200}
        assert {answer["error"] for answer in answers} == {None}
        bodies = [answer["response"]["body"] for answer in answers]
        assert [body["data"][0]["score"] for body in bodies[:6]] == [0, 1, 2, 3, 4, 5]
        assert bodies[0]["judge_version"] == "policy@7"
        file = await client.files.retrieve(batch.output_file_id or "")
        content = (await client.files.content(file.id)).content
        assert (file.purpose, file.bytes, file.filename) == ("batch_output", len(content), f"{batch.id}_output.jsonl")

    with_client(redis_url, Engine(by_length), check)


def test_bad_lines_are_in_the_error_file_and_the_others_are_answered(redis_url: str) -> None:
    good = judge_line("good")
    bad: list[tuple[Any, str | None, str]] = [
        ("{", None, "invalid_json_line"),
        ("[]", None, "invalid_request"),
        ({**good, "custom_id": None}, None, "missing_required_parameter"),
        ({**good, "custom_id": "\ud83d"}, None, "missing_required_parameter"),
        ({**good, "custom_id": "b", "method": "GET"}, "b", "invalid_method"),
        ({**good, "custom_id": "c", "url": "/v1/score"}, "c", "invalid_url"),
        ({**good, "custom_id": "d", "body": "x"}, "d", "missing_required_parameter"),
        (good, "good", "duplicate_custom_id"),
    ]
    refused = judge_line("votes", votes=0)
    half = judge_line("half", "cut: \ud83d")

    async def check(client: AsyncOpenAI) -> None:
        batch = await ended(client, await start(client, good, *(line for line, _, _ in bad), refused, half))
        assert batch.status == "completed"
        assert [answer["custom_id"] for answer in await read(client, batch.output_file_id)] == ["good", "half"]

        failed = await read(client, batch.error_file_id)
        assert [(line["custom_id"], line["error"]["code"]) for line in failed[:-1]] == [
            (name, code) for _, name, code in bad
        ]
        assert failed[0]["error"]["message"].startswith("line 2: the line is not JSON")
        assert all(line["response"] is None for line in failed[:-1])
        response = failed[-1]["response"]
        assert (failed[-1]["custom_id"], failed[-1]["error"], response["status_code"]) == ("votes", None, 422)
        assert response["body"]["error"]["param"] == "votes"
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 11, "completed": 2, "failed": 9}

    with_client(redis_url, Engine(by_length), check)


def test_other_routes_and_chat_completions_of_the_engine(redis_url: str) -> None:
    engine = Engine(lambda sent: completion(*["Score: 4"] * sent.get("n", 1)))

    async def check(client: AsyncOpenAI) -> None:
        body = {"text_1": "p", "text_2": ["a", "b"]}
        url = "/v1/score?rubric=countdown"
        scored = await ended(
            client,
            await start(client, {"custom_id": "s", "method": "POST", "url": url, "body": body}, endpoint="/v1/score"),
        )
        (score,) = await read(client, scored.output_file_id)
        assert [entry["score"] for entry in score["response"]["body"]["data"]] == [4, 4]

        def chat(name: str, **fields: Any) -> dict[str, Any]:
            sent = {"model": "policy", "messages": [{"role": "user", "content": "hi"}], **fields}
            return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": sent}

        image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}]
        batch = await ended(
            client,
            await start(
                client,
                *(chat("ok", temperature=0), chat("streams", stream=True), chat("image", messages=image)),
                chat("template", chat_template="x"),
                endpoint=CHAT,
            ),
        )
        (answer,) = await read(client, batch.output_file_id)
        assert answer["response"]["body"]["choices"][0]["message"]["content"] == "Score: 4"
        assert engine.bodies[-1] == chat("ok", temperature=0)["body"]
        failed = {line["custom_id"]: line["response"] for line in await read(client, batch.error_file_id)}
        assert {name: response["status_code"] for name, response in failed.items()} == dict.fromkeys(
            ("streams", "image", "template"), 400
        )
        assert "only text can be judged" in failed["image"]["body"]["error"]["message"]

    with_client(redis_url, engine, check)


def test_a_batch_waits_for_an_engine_that_is_away(redis_url: str) -> None:
    calls = 0

    def reply(sent: dict[str, Any]) -> Response:
        nonlocal calls
        calls += 1
        return JSONResponse({"error": "down"}, 503) if calls <= 3 else by_length(sent)

    async def check(client: AsyncOpenAI) -> None:
        batch = await ended(client, await start(client, judge_line("a")))
        assert (batch.status, batch.error_file_id) == ("completed", None)

    with_client(redis_url, Engine(reply), check, judge_engine_attempts=1)


def test_a_cancelled_batch_keeps_its_answers(redis_url: str) -> None:
    engine = Engine(slow)

    async def check(client: AsyncOpenAI) -> None:
        batch = await start(client, *(judge_line(str(number)) for number in range(1000)))
        await ended(client, batch, completed=32)
        cancelled = await client.batches.cancel(batch.id)
        assert (cancelled.status, await client.batches.cancel(batch.id)) == ("cancelled", cancelled)
        await asyncio.sleep(0.5)
        requests = len(engine.bodies)
        await asyncio.sleep(0.3)
        assert len(engine.bodies) == requests < 900
        assert cancelled.request_counts is not None
        assert len(await read(client, cancelled.output_file_id)) == cancelled.request_counts.completed >= 32

    with_client(redis_url, engine, check, judge_concurrency=32)


def test_an_expired_batch_lists_what_it_did_not_answer(redis_url: str) -> None:
    async def check(client: AsyncOpenAI) -> None:
        batch = await start(client, *(judge_line(str(number)) for number in range(200)))
        await ended(client, batch, completed=32)
        with Redis.from_url(redis_url, decode_responses=True) as redis:
            redis.hset(f"selfreward:judge-batch:{batch.id}", "expires_at", 1)
        expired = await ended(client, batch)
        assert (expired.status, expired.errors) == ("expired", None)
        done = await read(client, expired.output_file_id)
        late = await read(client, expired.error_file_id)
        assert {line["error"]["code"] for line in late} == {"batch_expired"}
        assert sorted(int(line["custom_id"]) for line in [*done, *late]) == list(range(200))

    with_client(redis_url, Engine(slow), check, judge_concurrency=16)


def test_lists_have_pages_and_files_can_be_deleted(redis_url: str) -> None:
    async def check(client: AsyncOpenAI) -> None:
        batches = [await start(client, judge_line("a")) for _ in range(5)]
        for batch in batches:
            await ended(client, batch)
        ids = [batch.id for batch in batches][::-1]
        first = await client.batches.list(limit=2)
        assert ([batch.id for batch in first.data], first.has_more) == (ids[:2], True)
        assert [batch.id async for batch in client.batches.list(limit=2)] == ids
        assert [batch.id for batch in (await client.batches.list(after=ids[3])).data] == ids[4:]

        files = [file async for file in client.files.list(limit=3)]
        assert [file.purpose for file in files].count("batch_output") == 5
        uploads = [file.id async for file in client.files.list(purpose="batch", order="asc")]
        assert uploads == [batch.input_file_id for batch in batches]

        output = (await client.batches.retrieve(ids[0])).output_file_id or ""
        for file_id in (output, uploads[0]):
            assert (await client.files.delete(file_id)).deleted
            with pytest.raises(openai.NotFoundError, match="is not known"):
                await client.files.content(file_id)
        assert (await client.batches.retrieve(ids[0])).output_file_id is None
        assert len([file async for file in client.files.list()]) == 8

    with_client(redis_url, Engine(by_length), check)


def test_a_file_comes_back_as_it_was_sent_and_may_go_before_its_batch(redis_url: str) -> None:
    name, text = file_of(*(judge_line(str(number)) for number in range(70)))
    text = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n", 40).replace(b"\r\n", b"\r\n\n", 1).rstrip(b"\n")

    async def check(client: AsyncOpenAI) -> None:
        file = await client.files.create(
            file=(name, text), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
        )
        assert (file.bytes, file.filename, (file.expires_at or 0) - file.created_at) == (len(text), name, 3600)
        assert (await client.files.content(file.id)).content == text
        batch = await client.batches.create(
            input_file_id=file.id,
            endpoint=JUDGE,
            completion_window="24h",
            output_expires_after={"anchor": "created_at", "seconds": 7200},
        )
        await client.files.delete(file.id)
        batch = await ended(client, batch)
        assert len(await read(client, batch.output_file_id)) == 70
        output = await client.files.retrieve(batch.output_file_id or "")
        assert (output.expires_at or 0) - output.created_at == 7200

    with_client(redis_url, Engine(by_length), check)


def test_what_is_refused_at_once(redis_url: str) -> None:
    async def check(client: AsyncOpenAI) -> None:
        for content, words in ((b"", "has no lines"), (b"\n \n", "has no lines"), (b'"\xff"\n', "is not UTF-8")):
            with pytest.raises(openai.UnprocessableEntityError, match=words):
                await client.files.create(file=("x.jsonl", content), purpose="batch")
        with pytest.raises(openai.UnprocessableEntityError, match="files are for batches"):
            await client.files.create(file=("x.jsonl", b"{}"), purpose="fine-tune")
        with pytest.raises(openai.APIStatusError, match=r"more than 4096 bytes.*SELFREWARD_JUDGE_MAX_FILE_BYTES"):
            await client.files.create(file=("x.jsonl", b" " * 5000), purpose="batch")
        with pytest.raises(openai.UnprocessableEntityError, match=r"endpoint = '/v1/embeddings': use one of /v1/judge"):
            await start(client, judge_line("a"), endpoint="/v1/embeddings")
        with pytest.raises(openai.NotFoundError, match="input_file_id = 'file-x' is not known"):
            await client.batches.create(input_file_id="file-x", endpoint=CHAT, completion_window="24h")

    with_client(redis_url, Engine(by_length), check, judge_max_file_bytes=4096)


def test_one_idempotency_key_makes_one_batch(redis_url: str) -> None:
    async def check(client: AsyncOpenAI) -> None:
        file = await client.files.create(file=file_of(judge_line("a")), purpose="batch")
        made = [
            await client.batches.create(
                input_file_id=file.id,
                endpoint=JUDGE,
                completion_window="24h",
                extra_headers={"Idempotency-Key": "night"},
            )
            for _ in range(2)
        ]
        assert made[0].id == made[1].id
        assert len((await client.batches.list()).data) == 1

    with_client(redis_url, Engine(by_length), check)


def test_batches_and_files_belong_to_their_key(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(
        tmp_path,
        alice="job_items = 3",
        bob='scopes = ["judge", "infer"]',
        boss='scopes = ["judge", "admin"]',
    )

    async def check(client: AsyncOpenAI) -> None:
        bob, boss = client.with_options(api_key="bob"), client.with_options(api_key="boss")
        batch = await ended(client, await start(client, judge_line("a")))
        for file_id in (batch.input_file_id, batch.output_file_id or ""):
            with pytest.raises(openai.NotFoundError):
                await bob.files.retrieve(file_id)
            with pytest.raises(openai.NotFoundError):
                await bob.files.content(file_id)
            with pytest.raises(openai.NotFoundError):
                await bob.files.delete(file_id)
            assert (await boss.files.retrieve(file_id)).id == file_id
        for ask in (bob.batches.retrieve, bob.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(batch.id)
        with pytest.raises(openai.NotFoundError):
            await bob.batches.create(
                input_file_id=batch.input_file_id,
                endpoint=JUDGE,
                completion_window="24h",
            )
        assert (await boss.batches.retrieve(batch.id)).status == "completed"
        assert [len((await each.batches.list()).data) for each in (client, bob, boss)] == [1, 0, 0]
        assert [len((await each.files.list()).data) for each in (client, bob, boss)] == [2, 0, 0]

        with pytest.raises(openai.UnprocessableEntityError, match="has 4 lines, 3 are allowed"):
            await start(client, *(judge_line(str(number)) for number in range(4)))
        with pytest.raises(openai.PermissionDeniedError, match="lacks the scope 'infer'"):
            await start(client, judge_line("a"), endpoint=CHAT)
        await start(bob, judge_line("a"), endpoint=CHAT)

    with_client(redis_url, Engine(by_length), check, api_key="alice", keys=keys)  # pragma: allowlist secret - a name


def test_a_batch_costs_its_key_its_rate_once(redis_url: str, tmp_path: Path) -> None:
    keys = keys_file(tmp_path, alice="concurrency = 1\nrate = {items_per_second = 0.001, burst = 20}")

    async def check(client: AsyncOpenAI) -> None:
        batch = await ended(client, await start(client, *(judge_line(str(number)) for number in range(20))))
        assert (batch.status, batch.error_file_id) == ("completed", None)
        with pytest.raises(openai.RateLimitError):
            await start(client, judge_line("a"))

    with_client(redis_url, Engine(by_length), check, api_key="alice", keys=keys)  # pragma: allowlist secret - a name
