"""Juries through the real judge: two engines and one more that fails, each told apart by its host."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse

from selfreward.contracts.comparisons import PairResponse, RankResponse
from selfreward.contracts.judging import JudgeResponse
from services.judge.app import create_app
from services.judge.rubrics.rubric import RubricError
from services.judge.settings import JudgeSettings
from tests.support.access import keys_file
from tests.support.judge_engine import Engine, fours, message, running
from tests.support.jury import TABLE, TEMPLATE, Hosts, a_rubric, saying

PAIR = 'title = "T"\nkind = "pairwise"\nengines = ["small", "large"]\nmin_valid_votes = 1\n'
PAIR_TEMPLATE = "<q>{prompt}</q> <a>{response_a}</a> <b>{response_b}</b> Winner: <A or B>"
RANK = 'title = "T"\nkind = "rank"\nengines = ["small", "large"]\nmin_valid_votes = 1\n'
RANK_TEMPLATE = "<q>{prompt}</q> <c>{candidates}</c> Ranking: <order>"


def asked(rubrics: Path, path: str, sent: dict[str, Any], **engines: Engine) -> httpx.Response:
    """What a judge with these engines answers."""

    async def scenario() -> httpx.Response:
        settings = {"judge_engines": SecretStr(TABLE), "judge_rubrics": rubrics, "judge_engine_attempts": 1}
        async with running(None, Hosts(**engines), **settings) as client:
            return await client.post(path, json={"rubric": "jury", **sent})

    return asyncio.run(scenario())


def judged(rubrics: Path, sent: dict[str, Any], **engines: Engine) -> JudgeResponse:
    answer = asked(rubrics, "/v1/judge", sent, **engines)
    assert answer.status_code == 200, answer.text
    return JudgeResponse.model_validate_json(answer.content)


ITEM = {"prompt": "p", "response": "r"}


def test_every_engine_votes_and_all_votes_count(tmp_path: Path) -> None:
    engines = {"small": saying("Fine. Score: 2"), "large": saying("Good. Score: 5")}

    result = judged(a_rubric(tmp_path), {"items": [ITEM, ITEM], "votes": 2}, **engines)

    for judgment in result.data:
        assert [(vote.engine, vote.score) for vote in judgment.votes] == [
            ("small", 2),
            ("small", 2),
            ("large", 5),
            ("large", 5),
        ]
        assert (judgment.score, judgment.disagreement, judgment.status) == (3.5, 1.5, "ok")
    assert result.judge_version == "small=small-judge, large=large-judge"
    assert result.usage.completion_tokens == 4 * 2 * 2 * 2
    small, large = engines["small"], engines["large"]
    assert {sent["model"] for sent in small.bodies} == {"small-judge"}
    assert {sent["service_tier"] for sent in small.bodies} == {"flex"}
    assert all("service_tier" not in sent for sent in large.bodies)
    assert {sent["authorization"] for sent in small.headers} == {"Bearer its-key"}
    assert all("authorization" not in sent for sent in large.headers)


def test_an_engine_that_fails_does_not_fail_the_rest(tmp_path: Path) -> None:
    broken = Engine(lambda _: JSONResponse({"error": "out of order"}, 500))
    for engines in ({"small": saying("Score: 3")}, {"small": saying("Score: 3"), "large": broken}):
        result = judged(a_rubric(tmp_path / str(len(engines))), {"items": [ITEM], "votes": 2}, **engines)

        (judgment,) = result.data
        assert (judgment.status, judgment.score, judgment.valid_votes, judgment.disagreement) == ("partial", 3, 2, None)
        assert [(vote.engine, vote.status) for vote in judgment.votes] == [("small", "ok")] * 2 + [
            ("large", "error")
        ] * 2
        assert str(judgment.votes[3].reason).startswith("engine 'large' of SELFREWARD_JUDGE_ENGINES: ")
        assert result.judge_version.endswith("large=unknown")


def test_a_jury_of_which_all_fail_is_unavailable(tmp_path: Path) -> None:
    locked = Engine(lambda _: JSONResponse({"error": "no"}, 401))
    rubrics = a_rubric(tmp_path)
    for engines in ({}, {"small": locked}):
        answer = asked(rubrics, "/v1/judge", {"items": [ITEM]}, **engines)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_unavailable")

    refused = asked(rubrics, "/v1/judge", {"items": [ITEM]}, small=locked, large=locked)
    assert refused.json()["error"]["code"] == "engine_refused"
    assert "engine 'small' of SELFREWARD_JUDGE_ENGINES: " in message(refused)


def test_nothing_to_judge_stays_that_where_an_engine_fails(tmp_path: Path) -> None:
    nothing = {"prompt": "p", "response": None}
    result = judged(a_rubric(tmp_path), {"items": [nothing, ITEM], "votes": 1}, small=saying("Score: 1"))

    assert [[vote.status for vote in judgment.votes] for judgment in result.data] == [
        ["nothing_to_judge", "nothing_to_judge"],
        ["ok", "error"],
    ]


def test_a_pair_says_how_many_engines_are_in_the_minority(tmp_path: Path) -> None:
    def always_a(sent: dict[str, Any]) -> str:
        """The item's a, wherever it stands."""
        text = sent["messages"][0]["content"]
        return "Winner: A" if text.index("first") < text.index("second") else "Winner: B"

    item = {"prompt": "p", "a": "first", "b": "second"}
    rubrics = a_rubric(tmp_path, PAIR, PAIR_TEMPLATE)
    outcomes = []
    for other in (always_a, "Winner: A"):
        engines = {"small": saying(always_a), "large": saying(other)}
        answer = asked(rubrics, "/v1/judge/pairwise", {"items": [item]}, **engines)
        assert answer.status_code == 200, answer.text
        (verdict,) = PairResponse.model_validate_json(answer.content).data
        assert [vote.engine for vote in verdict.votes] == ["small", "large"] * 2
        outcomes.append((verdict.winner_ab, verdict.winner, verdict.disagreement))

    assert outcomes == [("a", "a", 0), ("a", "tie", 0.5)], "an engine that always says A finds a tie"


def test_a_ranking_says_how_many_engines_prefer_another_candidate(tmp_path: Path) -> None:
    def by_name(sent: dict[str, Any]) -> str:
        text = sent["messages"][0]["content"]
        return "Ranking: 1 > 2" if text.index("best") < text.index("worst") else "Ranking: 2 > 1"

    def the_other_way(sent: dict[str, Any]) -> str:
        return "Ranking: 2 > 1" if by_name(sent) == "Ranking: 1 > 2" else "Ranking: 1 > 2"

    rubrics = a_rubric(tmp_path, RANK, RANK_TEMPLATE)
    item = {"prompt": "p", "candidates": ["worst", "best"]}
    outcomes = []
    for other in (by_name, the_other_way):
        engines = {"small": saying(by_name), "large": saying(other)}
        answer = asked(rubrics, "/v1/judge/rank", {"items": [item], "votes": 1}, **engines)
        assert answer.status_code == 200, answer.text
        (verdict,) = RankResponse.model_validate_json(answer.content).data
        outcomes.append((verdict.scores, verdict.disagreement))

    assert outcomes == [([0, 1], 0), ([0.5, 0.5], 0.5)]


def test_the_judges_own_engine_judges_by_other_rubrics(tmp_path: Path) -> None:
    own = Engine(fours)

    async def scenario() -> httpx.Response:
        settings: dict[str, Any] = {"judge_engines": SecretStr(TABLE), "judge_rubrics": a_rubric(tmp_path)}
        async with running(own, **settings) as client:
            return await client.post("/v1/judge", json={"rubric": "countdown", "items": [ITEM]})

    (judgment,) = JudgeResponse.model_validate_json(asyncio.run(scenario()).content).data
    assert (judgment.score, judgment.disagreement) == (4, None)
    assert {vote.engine for vote in judgment.votes} == {None}


def test_a_pin_is_refused(tmp_path: Path) -> None:
    answer = asked(a_rubric(tmp_path), "/v1/judge", {"items": [ITEM], "policy": "policy@3"}, small=saying("Score: 3"))

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "policy")
    assert "rubric 'jury' names its engines; leave it out" in message(answer)


def test_a_key_pays_for_every_engine(tmp_path: Path) -> None:
    keys = keys_file(tmp_path, slow="rate = { items_per_second = 0.001, burst = 3 }")

    async def scenario() -> list[int]:
        settings = {"judge_engines": SecretStr(TABLE), "judge_rubrics": a_rubric(tmp_path / "rubrics"), "keys": keys}
        async with running(None, Hosts(small=saying("Score: 3"), large=saying("Score: 3")), **settings) as client:
            client.headers["authorization"] = "Bearer slow"
            sent = {"rubric": "jury", "items": [ITEM]}
            return [(await client.post("/v1/judge", json=sent)).status_code for _ in range(2)]

    assert asyncio.run(scenario()) == [200, 429]


@pytest.mark.parametrize(
    ("table", "known"),
    [(None, "which is not set"), ('small = { url = "http://small", model = "m" }', "which has small")],
)
def test_an_unknown_engine_is_refused_at_load(tmp_path: Path, table: str | None, known: str) -> None:
    settings = JudgeSettings(judge_engines=SecretStr(table) if table else None, judge_rubrics=a_rubric(tmp_path))

    with pytest.raises(RubricError) as caught:
        create_app(settings)

    assert "rubric jury: engines: " in str(caught.value)
    assert f"is not in SELFREWARD_JUDGE_ENGINES, {known}: add it there, or correct the name" in str(caught.value)


def test_an_unknown_engine_is_refused_over_http(tmp_path: Path) -> None:
    async def scenario() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        settings = {"judge_engines": SecretStr(TABLE), "judge_rubrics": tmp_path}
        async with running(None, Hosts(small=saying("Score: 3")), **settings) as client:
            body = {"title": "T", "template": TEMPLATE, "engines": ["small", "huge"], "min_valid_votes": 1}
            refused = await client.put("/v1/rubrics/mine", json=body)
            put = await client.put("/v1/rubrics/mine", json={**body, "engines": ["small"]})
            return refused, put, await client.post("/v1/judge", json={"rubric": "mine", "items": [ITEM]})

    refused, put, answer = asyncio.run(scenario())

    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "engines")
    assert "'huge' is not in SELFREWARD_JUDGE_ENGINES, which has large, small" in message(refused)
    assert (put.status_code, put.json()["engines"]) == (201, ["small"])
    (judgment,) = JudgeResponse.model_validate_json(answer.content).data
    assert (judgment.score, judgment.votes[0].engine, judgment.disagreement) == (3, "small", None)
