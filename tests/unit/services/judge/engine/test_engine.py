"""The judge when its engine fails, changes its policy version in the middle, or serves another than was pinned."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from selfreward.client.http import ServiceClient, WrongPolicyVersion
from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.judging import JudgeItem
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, body, completion, fours, judged, message, post, running


@pytest.mark.parametrize("status", [500, 503])
def test_an_engine_that_answers_nothing_is_503(status: int) -> None:
    answer = post(Engine(lambda _: JSONResponse({"error": "down"}, status)), body("a", "b"))

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert f"HTTP {status}" in message(answer)


def test_an_engine_that_is_not_there_is_503_and_not_ready() -> None:
    async def scenario() -> None:
        async with running(None) as client:
            assert (await client.post("/v1/judge", json=body("a"))).status_code == 503
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(scenario())


def test_something_else_than_a_completion_is_votes_of_status_error() -> None:
    result = judged(Engine(lambda _: JSONResponse({"hello": "world"})), body("a"))

    assert result.data[0].failure_kind == "error"
    assert "did not answer with a chat completion" in str(result.data[0].votes[0].reason)


def test_a_retried_engine_failure_is_not_seen() -> None:
    def busy_once(sent: dict[str, Any]) -> Response:
        return JSONResponse({"error": "busy"}, 503) if len(engine.bodies) == 1 else fours(sent)

    engine = Engine(busy_once)

    assert judged(engine, body("a")).data[0].score == 4
    assert len(engine.bodies) == 2


def test_a_pinned_version_that_is_not_served_is_409() -> None:
    async def scenario() -> None:
        engine = Engine(lambda _: JSONResponse({"error": "serving policy@8"}, 409))
        app = create_app(JudgeSettings(generator_url="http://engine"), engine_transport=httpx.ASGITransport(engine.app))
        async with (
            app.router.lifespan_context(app),
            ServiceClient("http://judge", transport=httpx.ASGITransport(app)) as service,
        ):
            with pytest.raises(WrongPolicyVersion, match=r"policy@8"):
                await AsyncJudgeClient(service).judge(
                    [JudgeItem(prompt="p", response="r")], rubric="countdown", policy="policy@7"
                )

    asyncio.run(scenario())


def test_an_engine_that_ignores_the_pin_is_409() -> None:
    answer = post(Engine(), body("a", policy="policy@6"))

    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "wrong_policy_version"
    assert "policy@6" in message(answer)


def test_a_swap_in_the_middle_judges_the_early_items_again() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        swapped = len(engine.bodies) > 2
        return completion(*["Score: 5" if swapped else "Score: 1"] * 3, version=f"policy@{10 if swapped else 9}")

    engine = Engine(reply)

    result = judged(engine, body("a", "b", "c", "d"), judge_concurrency=1)

    assert result.judge_version == "policy@10"
    assert [judgment.score for judgment in result.data] == [5, 5, 5, 5]
    assert [sent["model"] for sent in engine.bodies] == ["policy"] * 4 + ["policy@10"] * 2


def test_two_swaps_in_the_middle_end_with_the_newest() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        serving = min(len(engine.bodies), 3)
        if sent["model"] not in ("policy", f"policy@{serving}"):
            return JSONResponse({"error": f"serving policy@{serving}"}, 409)
        return completion(*["Score: 1"] * 3, version=f"policy@{serving}")

    engine = Engine(reply)

    result = judged(engine, body("a", "b"), judge_concurrency=1)

    assert result.judge_version == "policy@3"
    assert [sent["model"] for sent in engine.bodies][:3] == ["policy", "policy", "policy@2"]
    assert all(judgment.status == "ok" for judgment in result.data)


def test_versions_that_never_settle_are_409() -> None:
    engine = Engine(lambda _: completion(*["Score: 1"] * 3, version=f"policy@{len(engine.bodies)}"))

    answer = post(engine, body("a", "b"))

    assert answer.status_code == 409
    assert "kept changing" in message(answer)


def test_an_engine_without_version_header_is_named_by_the_setting_whatever_model_it_says() -> None:
    def other_model_each_time(_: dict[str, Any]) -> Response:
        choices = [{"message": {"content": "Score: 1"}, "finish_reason": "stop"}] * 3
        return JSONResponse({"model": f"gpt-9-2026-01-{len(engine.bodies):02}", "choices": choices})

    engine = Engine(other_model_each_time)

    result = judged(engine, body("a", "b", "c", "d"), judge_engine_model="gpt-9")

    assert (result.judge_version, [judgment.status for judgment in result.data]) == ("gpt-9", ["ok"] * 4)
    assert [sent["model"] for sent in engine.bodies] == ["gpt-9"] * 4
