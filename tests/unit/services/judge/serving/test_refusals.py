"""What the judge refuses over HTTP, and how it says so: keys, bodies, sizes, rubrics it does not have."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from tests.support.judge_engine import Engine, body, message, post, running


def test_our_key_goes_to_the_generator_and_never_to_another_engine() -> None:
    engine = Engine()
    headers = {"Authorization": "Bearer ours"}

    async def scenario(**settings: Any) -> None:
        async with running(engine, api_key=SecretStr("ours"), **settings) as client:
            assert (await client.post("/v1/judge", json=body("a"), headers=headers)).status_code == 200

    asyncio.run(scenario())
    asyncio.run(scenario(judge_engine_url="http://elsewhere"))
    asyncio.run(scenario(judge_engine_url="http://elsewhere", judge_engine_key=SecretStr("theirs")))

    assert [sent.get("authorization") for sent in engine.headers] == ["Bearer ours", None, "Bearer theirs"]


def test_the_key_is_asked_for() -> None:
    async def scenario() -> None:
        async with running(Engine(), api_key=SecretStr("ours")) as client:
            refused = await client.post("/v1/judge", json=body("a"))
            assert refused.status_code == 401
            assert refused.headers["x-request-id"]
            assert (await client.get("/v1/rubrics", headers={"Authorization": "Bearer wrong"})).status_code == 401
            assert (await client.get("/v1/rubrics", headers={"Authorization": "Bearer ours"})).status_code == 200
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("json", "param", "words"),
    [
        ({"items": []}, "items", "items = []"),
        ({}, "items", "items is missing: add it"),
        (body("a", votes=0), "votes", "votes = 0"),
        (body("a", vote=3), "vote", "vote is not a field"),
        (body("a", temperature=3), "temperature", "temperature = 3"),
        ({"items": [{"prompt": "p"}]}, "items.0.response", "items.0.response is missing"),
        ({"items": [{"prompt": 5, "response": "r"}]}, "items.0.prompt", "items.0.prompt = 5: give a text, or"),
        (
            {"items": [{"prompt": [{"role": "boss", "content": "x"}], "response": "r"}]},
            "items.0.prompt.0.role",
            "items.0.prompt.0.role = 'boss': use one of system, developer, user, assistant, tool, function",
        ),
        (body("a", policy="newest"), "policy", "write 'policy@N'"),
        (body(*["a"] * 9), "items", "items has 9 entries, 8 are allowed"),
    ],
)
def test_a_bad_request_is_422_with_field_and_remedy(json: Any, param: str, words: str) -> None:
    engine = Engine()

    answer = post(engine, json, judge_max_items=8)

    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == param
    assert words in message(answer)
    assert engine.bodies == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'"text"', "(body)"),
        (rb'{"items": [{"id": "\ud800", "prompt": "p", "response": "r"}]}', "items.0.id = '\\ud800' has unprintable"),
        (rb'{"items": [{"prompt": "p", "response": "r", "\ud800": 1}]}', "items.0 = '\\ud800'"),
    ],
)
def test_a_body_that_is_no_request_is_422(content: bytes, words: str) -> None:
    async def scenario() -> None:
        async with running(Engine()) as client:
            answer = await client.post("/v1/judge", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
            assert words in message(answer)

    asyncio.run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_too_many_bytes_are_413(chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 1024

    async def scenario() -> None:
        async with running(Engine(), judge_max_body_bytes=4096) as client:
            answer = await client.post("/v1/judge", content=chunks() if chunked else b" " * 65536)
            assert answer.status_code == 413
            assert "4096 bytes" in message(answer)

    asyncio.run(scenario())


def test_an_unknown_rubric_is_404_and_names_the_known_ones() -> None:
    for wanted in ("nosuch", "countdown@sha256:000000000000"):
        answer = post(Engine(), {**body("a"), "rubric": wanted})

        assert answer.status_code == 404
        assert answer.json()["error"]["param"] == "rubric"
        assert "additive5@sha256:" in message(answer)
        assert "countdown@sha256:" in message(answer)
