"""Rubrics put over HTTP: visible at once, whole or not at all, and never in place of a shipped one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from services.judge.rubrics.rubric import load_rubric, load_rubrics
from services.judge.rubrics.store import RubricBody, store_rubric
from tests.support.judge_engine import Engine, message, post, running

RUBRIC = {"title": "Mine", "min_valid_votes": 1, "template": "Grade {prompt} by {response}"}
FULL = {
    "title": 'Quotes " and \\ and \x7f and \n and 漢字 👩',
    "kind": "criteria",
    "delimiters": ["<a>", "</a>"],
    "aggregation": "median",
    "guided": True,
    "criteria": [{"text": "x", "weight": 0.25}, {"text": "y", "label": "pitfall", "weight": None}],
    "sampling": {"temperature": 0, "max_tokens": 10, "retry_max_tokens": 20},
    "template": "<a>{prompt}</a> {response} {criteria} {reference}\r\n\n",
}
DEBATE = {
    "title": "Mine",
    "kind": "debate",
    "debate": {"rounds": 1},
    "template": "{prompt} {response_a} {response_b} {debate}",
    "argue": "{prompt} {response_a} {response_b} {debate} {side}\n",
}


def test_a_put_rubric_judges_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        request = {"rubric": "mine", "items": [{"prompt": "p", "response": "r"}]}
        engine = Engine()
        async with running(engine, judge_rubrics=tmp_path) as client:
            created = await client.put("/v1/rubrics/mine", json=RUBRIC)
            assert (created.status_code, created.json()["name"], created.json()["title"]) == (201, "mine", "Mine")
            judged = (await client.post("/v1/judge", json=request)).json()
            assert (judged["rubric"], judged["data"][0]["score"]) == (created.json()["id"], 4)
            again = await client.put("/v1/rubrics/mine", json={**RUBRIC, "title": "Newer"})
            assert again.status_code == 200
            assert again.json()["id"] != created.json()["id"]
        async with running(engine, judge_rubrics=tmp_path) as client:
            assert (await client.get("/v1/rubrics/mine")).json() == again.json()

    asyncio.run(scenario())
    assert [child.name for child in tmp_path.iterdir() if child.name[0] != "."] == ["mine"]


def test_another_replica_finds_it_when_it_is_asked_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with (
            running(Engine(), judge_rubrics=tmp_path) as one,
            running(Engine(), judge_rubrics=tmp_path) as other,
        ):
            for title in ("first", "second"):
                name = (await one.put("/v1/rubrics/mine", json={**RUBRIC, "title": title})).json()["id"]
                assert (await other.get(f"/v1/rubrics/{name}")).json()["title"] == title
            assert (await other.get("/v1/rubrics/..")).status_code == 404
            assert (await other.get("/v1/rubrics/nosuch")).status_code == 404

    asyncio.run(scenario())


@pytest.mark.parametrize("body", [RUBRIC, FULL, DEBATE])
def test_what_is_written_is_what_was_sent(tmp_path: Path, body: dict[str, Any]) -> None:
    sent = RubricBody.model_validate(body)

    store_rubric(tmp_path, "mine", sent)

    (stored,) = [rubric for name, rubric in load_rubrics([tmp_path]).items() if name == "mine"]
    texts = {name: stored.describe()[name] for name in ("template", "argue")}
    assert {**stored.spec.model_dump(), **texts} == sent.model_dump()


def put(body: Any, name: str = "mine", **settings: Any) -> Any:
    async def scenario() -> Any:
        async with running(Engine(), **settings) as client:
            content = json.dumps(body).encode()  # escapes what is no valid Unicode, as a client may
            return await client.put(
                f"/v1/rubrics/{name}", content=content, headers={"Content-Type": "application/json"}
            )

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changed", "name", "status", "param", "words"),
    [
        ({"title": ""}, "mine", 422, "title", "title = ''"),
        ({"kind": "best"}, "mine", 422, "kind", "kind = 'best'"),
        ({"votes": 3}, "mine", 422, "votes", "votes is not a field"),
        ({"verdict_label": "Score"}, "mine", 422, "verdict_label", "'Score' cannot be neutralised"),
        ({"scale": {"min": 5, "max": 1}}, "mine", 422, "scale", "min=5 is not below max=1"),
        ({"kind": "pairwise"}, "mine", 422, "template", "never uses {response_a}"),
        ({"kind": "debate"}, "mine", 422, "(body)", "kind 'debate' needs its debate: add [debate]"),
        ({**DEBATE, "argue": None}, "mine", 422, "argue", "argue.txt is missing: add it"),
        ({**DEBATE, "argue": "{prompt}"}, "mine", 422, "argue", "argue.txt: the template never uses {response_a}"),
        ({"argue": "Argue."}, "mine", 422, "argue", "argue.txt is read by kind 'debate' alone: leave it out"),
        ({**DEBATE, "debate": {"rounds": 5}}, "mine", 422, "debate.rounds", "debate.rounds = 5"),
        ({"debate": {}}, "mine", 422, "(body)", "debate is for kind 'debate', not 'points': leave it out"),
        ({"template": "{prompt}"}, "mine", 422, "template", "never uses {response}"),
        ({"delimiters": ["<x>"]}, "mine", 422, "delimiters", "'<x>' does not occur in template"),
        ({"template": "{prompt} {response} \ud800"}, "mine", 422, "template", "as a unicode string"),
        ({"kind": "constitution", "principles": ["\ud800"]}, "mine", 422, "(body)", "a text is no valid Unicode"),
        ({}, "Mine", 422, "name", "name = 'Mine': use 1 to 64 of a-z"),
        ({}, ".versions", 422, "name", "name = '.versions': use"),
        ({}, "additive5", 409, "name", "is a shipped rubric: choose another name"),
        ({}, "byhand", 409, "name", "put there by hand"),
    ],
)
def test_a_rubric_that_cannot_be_used_is_not_kept(
    tmp_path: Path, changed: dict[str, Any], name: str, status: int, param: str, words: str
) -> None:
    (tmp_path / "byhand").mkdir()
    (tmp_path / "byhand" / "rubric.toml").write_text('title = "T"')
    (tmp_path / "byhand" / "template.txt").write_text("{prompt} {response}")

    answer = put({**RUBRIC, **changed}, name, judge_rubrics=tmp_path)

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert words in message(answer)
    assert [child.name for child in tmp_path.iterdir()] == ["byhand"]
    assert load_rubric(tmp_path / "byhand").spec.title == "T"


def test_without_a_folder_nothing_can_be_put() -> None:
    answer = put(RUBRIC)

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_rubric_folder")
    assert "set SELFREWARD_JUDGE_RUBRICS" in message(answer)


def test_the_prompts_of_a_comparison_are_not_filled_by_the_route_for_scores() -> None:
    answer = post(Engine(), {"items": [{"prompt": "p", "response": "r"}]}, "/v1/rubrics/pairwise/prompt")

    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "rubric")
