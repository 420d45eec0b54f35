"""Fields of a request that an engine does not take: found out by refusals, or set."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from selfreward.client.http import ServiceError
from services.judge.engine.parameters import fit, refused_field
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, body, completion, fours, judged, running

SENT = {"model": "m", "messages": [], "n": 3, "temperature": 0.7, "top_p": 0.9, "max_tokens": 9, "seed": 1}


def refusal(text: str, **fields: Any) -> Response:
    return JSONResponse({"error": {"message": text, **fields}}, 400)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ('{"error": {"message": "not here", "param": "temperature"}}', ("temperature", 0.7)),
        ('{"error": {"message": "Unsupported parameter: seed", "param": null}}', ("seed", None)),
        ('{"detail": [{"loc": ["body", "top_p"], "msg": "Extra inputs are not permitted"}]}', ("top_p", 0.9)),
        ('{"message": "{\\"detail\\":[{\\"loc\\":[\\"body\\",\\"seed\\"],\\"msg\\":\\"no\\"}]}"}', ("seed", None)),
        ("unknown field `seed`", ("seed", None)),
        ("`temperature` and `top_p` cannot both be specified", ("top_p", 0.9)),
        ("Use 'max_completion_tokens' instead of 'max_tokens'", ("max_tokens", None)),
        ("'n' : number must be at most 1", ("n", None)),
        ("Invalid n value (currently only n = 1 is supported)", ("n", None)),
        ("Multiple candidates is not enabled for this model", ("n", None)),
        ("This model's maximum context length is 8 tokens, max_tokens 9", None),
        ("API key not valid, whatever the temperature", None),
        ("The answer was filtered by the content policy, whatever the temperature", None),
        ("something else is wrong in this request", None),
        ('{"detail": [{"loc": ["body", "messages", 0], "msg": "no", "input": "what is the temperature?"}]}', None),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8]", None),
        ("max_completion_tokens is too small", None),
        ("top_k is not supported", None),
    ],
)  # fmt: skip
def test_the_field_that_a_refusal_names(text: str, refused: Any) -> None:
    assert refused_field(ServiceError(f"HTTP 400: {text}", 400, text), SENT) == refused
    assert refused_field(ServiceError(f"HTTP 500: {text}", 500, text), SENT) is None


def test_refused_fields_are_left_out_or_renamed() -> None:
    refused = {("max_tokens", None), ("temperature", 0.7), ("seed", None)}

    assert fit(SENT, refused) == {"model": "m", "messages": [], "n": 3, "top_p": 0.9, "max_completion_tokens": 9}
    assert fit({"temperature": 1.0, "top_logprobs": 5, "logprobs": True}, refused) == {
        "temperature": 1.0,
        "top_logprobs": 5,
        "logprobs": True,
    }
    assert fit({"top_logprobs": 5, "logprobs": True}, {("top_logprobs", 5)}) == {}


def test_only_the_value_that_was_refused_is_left_out() -> None:
    def up_to_one(sent: dict[str, Any]) -> Response:
        return refusal("temperature must be at most 1") if sent.get("temperature", 0) > 1 else fours(sent)

    engine = Engine(up_to_one)

    async def scenario() -> None:
        async with running(engine) as client:
            for temperature in (1.5, 1.5, 0.5):
                answer = await client.post("/v1/judge", json=body("a", temperature=temperature))
                assert answer.json()["data"][0]["score"] == 4

    asyncio.run(scenario())

    assert [sent.get("temperature") for sent in engine.bodies] == [1.5, None, None, 0.5]


def test_a_refusal_that_leaving_out_does_not_help_changes_nothing() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        oddity = "oddity" in sent["messages"][0]["content"]
        return refusal("I dislike this prompt and its temperature") if oddity else fours(sent)

    engine = Engine(reply)

    result = judged(engine, body("oddity", "b"), judge_concurrency=1)

    assert [judgment.failure_kind for judgment in result.data] == ["error", None]
    assert "temperature" in engine.bodies[-1]


def test_one_request_finds_out_and_the_others_wait() -> None:
    async def reply(sent: dict[str, Any]) -> Response:
        await asyncio.sleep(0.05)  # long enough for all to be on their way
        for name in ("max_tokens", "temperature", "top_p"):
            if name in sent:
                return refusal(f"Unsupported parameter: '{name}'", param=name)
        return fours(sent)

    engine = Engine(reply)

    result = judged(engine, body(*"abcdefgh"))

    assert [judgment.score for judgment in result.data] == [4] * 8
    assert len(engine.bodies) == 8 + 2 + 8


def test_the_setting_adds_fields_and_null_removes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = '{"top_p": null, "n": null, "service_tier": "flex", "temperature": 1}'
    monkeypatch.setenv("SELFREWARD_JUDGE_ENGINE_PARAMETERS", parameters)
    engine = Engine(lambda _: completion("Score: 4"))

    result = judged(engine, body("a"))

    assert [vote.score for vote in result.data[0].votes] == [4, 4, 4]
    assert len(engine.bodies) == 3
    for sent in engine.bodies:
        assert (sent["service_tier"], sent["temperature"]) == ("flex", 1)
        assert not {"n", "top_p"} & sent.keys()


@pytest.mark.parametrize("value", ["{top_p", "[1]", "flex"])
def test_a_setting_that_is_no_object_names_itself(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREWARD_JUDGE_ENGINE_PARAMETERS", value)

    with pytest.raises(ValidationError, match="judge_engine_parameters"):
        JudgeSettings()


def test_a_vote_whose_own_request_fails_is_one_vote_of_status_error() -> None:
    def reply(_: dict[str, Any]) -> Response:
        return JSONResponse({"error": "no"}, 418) if len(engine.bodies) == 2 else completion("Score: 4")

    engine = Engine(reply)

    result = judged(engine, body("a"))

    assert sorted(vote.status for vote in result.data[0].votes) == ["error", "ok", "ok"]
    assert result.data[0].score == 4


def test_votes_that_are_asked_for_one_by_one_are_by_one_version() -> None:
    engine = Engine(lambda _: completion("Score: 4", version=f"policy@{7 if len(engine.bodies) < 3 else 8}"))

    result = judged(engine, body("a"))

    assert (result.judge_version, result.data[0].status) == ("policy@8", "ok")


def test_what_constrains_a_verdict_is_never_left_out_to_get_an_answer() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        if "structured_outputs" in sent:
            return refusal("Unrecognized request argument supplied: structured_outputs")
        return completion(*["no idea"] * sent["n"])

    engine = Engine(reply)

    result = judged(engine, body("a"))

    assert {vote.status for vote in result.data[0].votes} == {"unparsed"}
    assert sum("continue_final_message" in sent for sent in engine.bodies) == 1
