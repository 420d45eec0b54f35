"""Votes whose verdict the engine writes in its form, after their own text, and reasoning judges, over HTTP."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.judging import JudgeResponse
from tests.support.judge_engine import Engine, body, compared, completion, judged, only, pairs, running

FREE = "The numbers are right, and the rest is missing"


def held(sent: dict[str, Any]) -> bool:
    """Whether the engine is asked to go on with a text."""
    return "continue_final_message" in sent


def constraining(*texts: str, verdict: str = " 4", finish: str = "stop") -> Engine:
    """An engine whose free texts are `texts`, and which writes `verdict` if a continuation is held to a form."""

    def reply(sent: dict[str, Any]) -> Response:
        return completion(verdict) if held(sent) else completion(*(texts * sent["n"])[: sent["n"]], finish=finish)

    return Engine(reply)


def test_the_engine_goes_on_with_the_text_of_each_vote_that_lacks_a_verdict() -> None:
    engine = constraining(FREE, "Score: 2", "Score: 3 or 4")

    result = judged(engine, body("a", votes=3, seed=7)).data[0]

    assert [(vote.status, vote.score, vote.constrained) for vote in result.votes] == [
        ("ok", 4, True),
        ("ok", 2, False),
        ("ok", 4, True),
    ]
    assert result.votes[0].text == f"{FREE}\nScore: 4"
    first, second, third = engine.bodies
    assert not held(first)
    assert second["messages"] == [*first["messages"], {"role": "assistant", "content": f"{FREE}\nScore:"}]
    assert third["messages"][1]["content"] == "Score: 3 or 4\nScore:"
    assert {name: second[name] for name in ("n", "structured_outputs", "regex", "add_generation_prompt", "model")} == {
        "n": 1,
        "structured_outputs": {"regex": " ?(0|1|2|3|4|5)"},
        "regex": " ?(0|1|2|3|4|5)",
        "add_generation_prompt": False,
        "model": "policy@7",
    }
    assert len({first["seed"], second["seed"], third["seed"]}) == 3


def test_readable_votes_cost_no_further_request() -> None:
    engine = constraining("Score: 2")

    judged(engine, body("a", "b", votes=3))

    assert len(engine.bodies) == 2


def test_a_truncated_text_gets_a_verdict_and_keeps_its_reasoning() -> None:
    engine = constraining(FREE, finish="length")

    vote = judged(engine, body("a", votes=1, retry_max_tokens=100)).data[0].votes[0]

    assert [sent["max_tokens"] for sent in engine.bodies[:2]] == [24, 48]
    assert (vote.score, vote.text, vote.finish_reason) == (4, f"{FREE}\nScore: 4", "stop")


@pytest.mark.parametrize(("text", "status"), [("<think>Score: 2", "truncated"), ("Score: 9", "out_of_range")])
def test_unfinished_reasoning_and_verdicts_on_another_scale_are_left_alone(text: str, status: str) -> None:
    engine = constraining(text)

    vote = judged(engine, body("a", votes=1)).data[0].votes[0]

    assert (vote.status, vote.text, len(engine.bodies)) == (status, text, 1)


@pytest.mark.parametrize("verdict", ["4.", " Score: 4", " 4 and more", " 9", "no idea"])
def test_an_engine_that_does_not_hold_to_the_form_changes_no_vote_and_is_not_asked_again(verdict: str) -> None:
    engine = constraining(FREE, verdict=verdict)

    result = judged(engine, body("a", votes=1))
    assert [vote.status for vote in result.data[0].votes] == ["unparsed"]
    assert result.data[0].votes[0].text == FREE


def test_an_engine_that_says_the_same_again_changes_no_vote() -> None:
    vote = judged(Engine(lambda sent: completion(*["4"] * sent["n"])), body("a", votes=1)).data[0].votes[0]

    assert (vote.status, vote.text) == ("unparsed", "4")


def judged_in_turn(engine: Engine, *requests: dict[str, Any]) -> list[JudgeResponse]:
    """The answers of one judge to requests, one after the other."""

    async def scenario() -> list[JudgeResponse]:
        async with running(engine) as client:
            answers = [await client.post("/v1/judge", json=request) for request in requests]
        return [JudgeResponse.model_validate_json(answer.content) for answer in answers]

    return asyncio.run(scenario())


def test_an_engine_that_refuses_the_fields_is_asked_once() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        refusal = {"error": {"message": "Unrecognized request argument supplied: continue_final_message"}}
        return JSONResponse(refusal, 400) if held(sent) else completion(FREE)

    engine = Engine(reply)
    results = judged_in_turn(engine, body("a", votes=1), body("b", votes=1))

    assert [result.data[0].votes[0].status for result in results] == ["unparsed", "unparsed"]
    assert [held(sent) for sent in engine.bodies] == [False, True, False]


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_of_many_votes_at_once_one_finds_out_that_the_engine_cannot_write_a_form(status: int) -> None:
    """As where a grammar has words that the engine's tokenizer cannot write: vLLM ends such a request with a 500."""

    def reply(sent: dict[str, Any]) -> Response:
        if not held(sent):
            return completion(*[FREE] * sent["n"])
        return JSONResponse({"error": {"message": "grammar rejected tokens [0]"}}, status)

    engine = Engine(reply)
    result = judged(engine, body("a", "b", "c", votes=3))

    assert {vote.status for item in result.data for vote in item.votes} == {"unparsed"}
    assert [held(sent) for sent in engine.bodies] == [False, False, False, True]


def test_an_engine_that_fails_at_one_form_is_still_asked_for_another() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        if not held(sent):
            return completion(*[FREE] * sent["n"])
        sides = "tie" in sent["regex"]
        return completion(" B") if sides else JSONResponse({"error": {"message": "no"}}, 500)

    async def scenario() -> list[dict[str, Any]]:
        async with running(Engine(reply)) as client:
            scored = await client.post("/v1/judge", json=body("a", votes=1))
            compared = await client.post("/v1/judge/pairwise", json=pairs(("x", "y")) | {"swap": False})
            return [scored.json()["data"][0], compared.json()["data"][0]]

    scored, compared = asyncio.run(scenario())
    assert scored["votes"][0]["status"] == "unparsed"
    assert (compared["winner"], compared["votes"][0]["constrained"]) == ("b", True)


@pytest.mark.parametrize(("status", "votes"), [(503, [4, 4]), (200, [None, 4])])
def test_a_form_that_the_engine_could_not_try_is_tried_again(status: int, votes: list[float | None]) -> None:
    """A busy engine, and an error inside of a 200, say nothing about what the engine can do."""
    failures = iter([JSONResponse({"error": {"message": "busy"}}, status)])

    def reply(sent: dict[str, Any]) -> Response:
        return next(failures, completion(" 4")) if held(sent) else completion(FREE)

    results = judged_in_turn(Engine(reply), body("a", votes=1), body("b", votes=1))

    assert [result.data[0].votes[0].score for result in results] == votes


def test_a_rubric_may_leave_the_verdict_to_free_text(tmp_path: Path) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "free" / "rubric.toml").write_text('title = "T"\nguided = false\n')
    (tmp_path / "free" / "template.txt").write_text("{prompt} {response}")
    engine = constraining(FREE)

    judged(engine, {**body("a"), "rubric": "free"}, judge_rubrics=tmp_path)

    assert len(engine.bodies) == 1


def test_the_probabilities_of_a_constrained_verdict_are_read() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        if not held(sent):
            return completion(FREE)
        top = [{"token": " 4", "logprob": -0.2231435513}, {"token": " 2", "logprob": -1.6094379124}]
        tokens = [{"token": " 4", "logprob": -0.2, "bytes": list(b" 4"), "top_logprobs": top}]
        choice = {"message": {"content": " 4"}, "finish_reason": "stop", "logprobs": {"content": tokens}}
        return JSONResponse({"model": "m", "choices": [choice]}, headers={VERSION_HEADER: "policy@7"})

    vote = judged(Engine(reply), body("a", votes=1, aggregation="expected")).data[0].votes[0]

    assert vote.score == 4
    assert vote.expected == pytest.approx(3.6)


def test_a_comparison_is_held_to_a_side_and_all_criteria_to_yes_or_no() -> None:
    engine = constraining("Both have merits.", verdict=" B")
    verdict = only(compared(engine, pairs(("x", "y")) | {"swap": False}))
    assert (verdict.winner, verdict.votes[0].constrained) == ("b", True)
    assert engine.bodies[1]["structured_outputs"] == {"regex": " ?(A|B|tie)"}

    criteria = [{"text": "x"}, {"text": "y"}]
    engine = constraining("Fine.", verdict=" yes\nCriterion 2: no")
    item = {"prompt": "p", "response": "r", "criteria": criteria}
    result = judged(engine, {"rubric": "criteria", "items": [item], "votes": 1}).data[0]
    assert result.votes[0].criteria == [True, False]
    assert re.fullmatch(engine.bodies[1]["regex"], " yes\nCriterion 2: no")


def thinking(text: str | None, thoughts: str, key: str, finish: str = "stop") -> Engine:
    message = {"role": "assistant", "content": text, key: thoughts}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return Engine(lambda _: JSONResponse({"model": "m", "choices": [choice]}))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_the_reasoning_beside_the_text_is_kept_and_never_holds_a_vote(key: str) -> None:
    vote = judged(thinking("Score: 4", "Score: 1?", key), body("a", votes=1)).data[0].votes[0]
    assert (vote.score, vote.text, vote.reasoning_content) == (4, "Score: 4", "Score: 1?")

    cut = thinking(None, "Score: 1", key, "length")
    vote = judged(cut, body("a", votes=1)).data[0].votes[0]
    assert (vote.status, vote.reasoning_content, len(cut.bodies)) == ("truncated", "Score: 1", 1)


def test_a_rubric_tells_the_engine_how_to_reason(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    spec = 'title = "T"\n[sampling]\nmax_tokens = 32768\nreasoning_effort = "high"\n'
    (tmp_path / "deep" / "rubric.toml").write_text(spec + "chat_template_kwargs = { enable_thinking = true }\n")
    (tmp_path / "deep" / "template.txt").write_text("{prompt} {response}")
    engine = Engine()

    judged(engine, {**body("a"), "rubric": "deep"}, judge_rubrics=tmp_path)

    sent = json.loads(json.dumps(engine.bodies[0]))
    assert (sent["max_tokens"], sent["reasoning_effort"]) == (32768, "high")
    assert sent["chat_template_kwargs"] == {"enable_thinking": True}
