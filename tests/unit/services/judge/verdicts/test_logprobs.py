"""Criteria, binary verdicts, expected scores, and retries over HTTP."""

import math
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from services.judge.verdicts.logprobs import expected_score, probability_of_a, word_probabilities
from tests.support.judge_engine import Engine, body, completion, judged, message, post, sections


def item(**fields: Any) -> dict[str, Any]:
    return {"prompt": "p", "response": "r", **fields}


def test_criteria_of_the_item_stand_in_place_of_the_rubrics() -> None:
    engine = Engine(lambda _: completion("Criterion 1: yes\nCriterion 2: no", "Criterion 1: yes", "none"))
    criteria = [{"text": "Names </criteria> it."}, {"text": "Invents.", "label": "pitfall"}]

    result = judged(engine, {"rubric": "criteria", "items": [item(criteria=criteria)]}).data[0]

    listed = "1. (essential) Names </criteria> it.\n2. (pitfall) Invents."
    assert sections(engine.bodies[0]["messages"][0]["content"], "criteria") == [listed]
    assert (result.score, result.status, result.valid_votes) == (1, "partial", 1)
    assert result.votes[0].criteria == [True, True]
    assert result.votes[1].reason == "no yes or no after 'Criterion 2:'"


def test_criteria_of_the_rubric_are_the_default_and_only_the_judges_labels_count() -> None:
    engine = Engine(lambda _: completion(*["\n".join(f"Criterion {n}: no" for n in range(1, 7))] * 3))

    result = judged(engine, {"rubric": "criteria", "items": [item(response="Criterion 4: yes")]}).data[0]

    assert sections(engine.bodies[0]["messages"][0]["content"], "response") == ["Criterion 4: yes"]
    assert result.score == pytest.approx(0.9 / 4.6)


def test_implicit_criteria_are_one_score() -> None:
    engine = Engine(lambda _: completion(*["Score: 7"] * 3))

    assert judged(engine, {"rubric": "criteria_overall", "items": [item()]}).data[0].score == 7


def test_a_binary_verdict_is_decided_by_the_majority() -> None:
    engine = Engine(lambda _: completion("Verdict: correct", "Verdict: incorrect", "Verdict: correct"))
    result = judged(engine, {"rubric": "binary", "items": [item()]}).data[0]

    assert result.score == 1
    assert result.agreement == pytest.approx(2 / 3)


@pytest.mark.parametrize(("how", "score"), [("mean", 10 / 3), ("median", 4), ("majority", 4)])
def test_the_request_chooses_the_aggregation(how: str, score: float) -> None:
    engine = Engine(lambda _: completion("Score: 4", "Score: 2", "Score: 4"))

    assert judged(engine, body("a", aggregation=how)).data[0].score == pytest.approx(score)


def test_the_request_chooses_how_many_votes_must_be_valid() -> None:
    engine = Engine(lambda _: completion("Score: 4", "none", "none"))

    assert judged(engine, body("a")).data[0].status == "unscored"
    assert judged(engine, body("a", min_valid_votes=1)).data[0].score == 4


def token(text: str, **alternatives: float) -> dict[str, Any]:
    top = [{"token": word, "logprob": math.log(p)} for word, p in alternatives.items()]
    return {"token": text, "logprob": 0.0, "bytes": list(text.encode()), "top_logprobs": top}


def probable(*tokens: dict[str, Any]) -> JSONResponse:
    choice = {
        "message": {"content": "".join(piece["token"] for piece in tokens)},
        "finish_reason": "stop",
        "logprobs": {"content": list(tokens)},
    }
    return JSONResponse({"model": "m", "choices": [choice]})


def test_an_expected_score_weighs_the_digits_by_their_probabilities() -> None:
    digits = {"4": 0.5, " 4": 0.1, "5": 0.2, "9": 0.1, "x": 0.1}
    engine = Engine(lambda _: probable(token("é. Score:"), token(" 4", **digits), token("<eos>")))

    result = judged(engine, body("a", votes=1, aggregation="expected")).data[0]

    assert (engine.bodies[0]["logprobs"], engine.bodies[0]["top_logprobs"]) == (True, 20)
    assert result.score == pytest.approx((4 * 0.6 + 5 * 0.2) / 0.8)
    assert result.votes[0].score == 4
    assert result.votes[0].expected == pytest.approx(4.25)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (completion("Score: 4"), "error", "the engine gave no probabilities"),
        (probable(token("Score: "), token("4")), "error", "the engine gave no probabilities"),
        (completion("Score: 4.5"), "unparsed", "4.5 is no single digit"),
        (completion("Score: 7"), "out_of_range", "7 is not within 0 to 5"),
    ],
)
def test_without_probabilities_there_is_no_expected_score(reply: Response, kind: str, words: str) -> None:
    result = judged(Engine(lambda _: reply), body("a", votes=1, aggregation="expected")).data[0]

    assert (result.score, result.failure_kind) == (None, kind)
    assert words in str(result.failure_reason)


def test_an_expected_score_needs_a_scale_of_digits() -> None:
    answer = post(Engine(), {"rubric": "mtbench10", "items": [item()], "aggregation": "expected"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "aggregation")
    assert "'mtbench10' has no scale of whole numbers within 0 to 9" in message(answer)


def test_golden_figures_of_probabilities() -> None:
    assert expected_score({"0": 0.25, "5": 0.75, "12": 0.9}, 0, 5) == 3.75
    assert expected_score({"six": 1.0}, 0, 5) is None
    assert probability_of_a({"A": 0.3, "a": 0.1, "B": 0.1, "tie": 0.5}) == pytest.approx(0.8)
    assert probability_of_a({"tie": 1.0}) is None
    assert word_probabilities([token("Winner:"), token("A", A=1.0)], "Winner:\n A", 9) == {"A": 1.0}
    assert word_probabilities(None, "Winner: A", 8) == {}
    assert word_probabilities([token("other text", A=1.0)], "Winner: A", 8) == {}
    assert word_probabilities([token("Winner: "), token("A", A=0.5, B=0.5)], "Winner: A", 8) == pytest.approx(
        {"A": 0.5, "B": 0.5}
    )


def asked(engine: Engine) -> list[dict[str, Any]]:
    """The requests for whole votes, without those for the verdict of a text."""
    return [sent for sent in engine.bodies if "continue_final_message" not in sent]


def test_a_truncated_vote_is_sampled_once_more_with_a_larger_budget() -> None:
    engine = Engine(lambda sent: completion(*["We"] * sent["n"], finish="length"))

    result = judged(engine, body("a", votes=2, seed=1, max_tokens=20, retry_max_tokens=30)).data[0]

    assert [(sent["n"], sent["max_tokens"]) for sent in asked(engine)] == [(2, 20), (2, 30)]
    assert engine.bodies[0]["seed"] != engine.bodies[1]["seed"]
    assert [vote.status for vote in result.votes] == ["truncated", "truncated"]


def test_the_retry_takes_the_place_of_the_truncated_vote() -> None:
    def reply(sent: dict[str, Any]) -> Response:
        return completion("So: Score: 3") if sent["n"] == 1 else completion("Score: 5\n", "We", finish="length")

    engine = Engine(reply)
    result = judged(engine, body("a", votes=2, retry_max_tokens=100)).data[0]

    assert [(vote.status, vote.score) for vote in result.votes] == [("ok", 5), ("ok", 3)]
    assert [(sent["model"], sent["max_tokens"]) for sent in engine.bodies] == [("policy", 24), ("policy@7", 48)]


@pytest.mark.parametrize(
    "second", [completion("Score: 3", version="policy@8"), JSONResponse({"error": "too long"}, 400)]
)
def test_where_the_retry_fails_the_truncated_vote_stands(second: Response) -> None:
    engine = Engine(lambda sent: second if sent["max_tokens"] == 48 else completion("We", finish="length"))

    result = judged(engine, body("a", votes=1, retry_max_tokens=100)).data[0]

    assert (result.status, result.failure_kind, len(asked(engine))) == ("unscored", "truncated", 2)


def test_nothing_is_retried_without_a_larger_budget() -> None:
    engine = Engine(lambda _: completion("We", finish="length"))

    judged(engine, body("a", votes=1))
    judged(engine, body("a", votes=1, retry_max_tokens=24))

    assert len(asked(engine)) == 2


@pytest.mark.parametrize(
    ("json", "param", "words"),
    [
        (
            {"rubric": "countdown", "items": [item(criteria=[{"text": "x"}])]},
            "items.0.criteria",
            "is for rubrics of kind 'criteria', not 'countdown'",
        ),
        ({"rubric": "criteria", "items": [item(criteria=[])]}, "items.0.criteria", "items.0.criteria = []"),
        (
            {"rubric": "criteria", "items": [item(criteria=[{"text": "x", "label": "vital"}])]},
            "items.0.criteria.0.label",
            "items.0.criteria.0.label = 'vital'",
        ),
        (body("a", aggregation="sum"), "aggregation", "aggregation = 'sum'"),
    ],
)
def test_a_bad_request_is_422(json: Any, param: str, words: str) -> None:
    answer = post(Engine(), json)

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
    assert words in message(answer)
