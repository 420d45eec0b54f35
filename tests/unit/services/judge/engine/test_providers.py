"""The engines of docs/engines.md, each through the judge: it gets its votes, and a fault is what it is."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from selfreward.contracts.judging import JudgeResponse
from tests.support.judge_engine import body, message, running
from tests.support.providers import FORBIDDEN, KEY, LONG, MODEL, Provider, providers

PAGE = Path(__file__).parents[5] / "docs" / "engines.md"
TRIES = {"judge_engine_model": MODEL, "judge_engine_key": SecretStr(KEY)}


@pytest.fixture(params=[provider.name for provider in providers()])
def provider(request: pytest.FixtureRequest) -> Provider:
    return next(provider for provider in providers() if provider.name == request.param)


def posted(provider: Provider, *bodies: Any, path: str = "/v1/judge", **settings: Any) -> list[httpx.Response]:
    """The judge's answers to several requests, one after another."""

    async def scenario() -> list[httpx.Response]:
        transport = httpx.ASGITransport(provider.app)
        given = {**TRIES, "judge_engine_url": provider.base, **settings}
        async with running(None, transport, **given) as client:
            return [await client.post(path, json=sent) for sent in bodies]

    return asyncio.run(scenario())


def results(provider: Provider, *bodies: Any) -> list[JudgeResponse]:
    answers = posted(provider, *bodies)
    assert [answer.status_code for answer in answers] == [200] * len(answers), [answer.text for answer in answers]
    return [JudgeResponse.model_validate_json(answer.content) for answer in answers]


def test_every_vote_is_cast_and_what_is_refused_is_found_out_once(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = results(provider, body("a", "b", seed=1), body("c", seed=1))

    judgments = [*first.data, *second.data]
    assert [[vote.score for vote in judgment.votes] for judgment in judgments] == [[4, 4, 4]] * 3
    assert (first.judge_version, second.judge_version) == (MODEL, MODEL)
    assert all(not sent.keys() & provider.left_out and provider.added <= sent.keys() for sent in provider.answered[-1:])
    # The second request has nothing left to find out.
    needed = 3 if "n" in provider.left_out else 1
    assert provider.bodies[-needed:] == provider.answered[-needed:]
    told = [record for record in caplog.records if "does not take a parameter" in record.message]
    assert {record.__dict__["parameter"] for record in told} == provider.left_out
    assert len(told) == len(provider.left_out)
    assert {record.levelno for record in told} <= {logging.WARNING}


def test_votes_that_are_asked_for_one_by_one_have_seeds_of_their_own(provider: Provider) -> None:
    results(provider, body("a", seed=1), body("a", seed=1))

    if {"n", "seed"} & provider.left_out == {"n"}:
        seeds = [sent["seed"] for sent in provider.answered]
        assert sorted(seeds[:3]) == sorted(seeds[3:])
        assert len(set(seeds)) == 3


def test_the_reasoning_is_kept_and_no_text(provider: Provider) -> None:
    (result,) = results(provider, body("a", votes=1))

    (vote,) = result.data[0].votes
    assert vote.text == "It is fine.\nScore: 4"
    assert vote.reasoning_content == (None if provider.message("") == {"role": "assistant", "content": ""} else "hm")


def test_a_prompt_over_the_context_is_the_items_fault(provider: Provider) -> None:
    both, alone = results(provider, body(LONG, "b"), body(LONG))

    # Without a refusal it cuts the prompt short and does not say so.
    kind, status = ("too_long", 422) if provider.too_long else (None, 200)
    assert [judgment.failure_kind for judgment in both.data] == [kind, None]
    assert alone.data[0].failure_kind == kind
    assert posted(provider, {"text_1": "p", "text_2": [LONG]}, path="/score")[0].status_code == status


def test_what_its_filter_takes_out_is_refused(provider: Provider) -> None:
    (result,) = results(provider, body(FORBIDDEN, "b"))

    status = "refused" if provider.filtered or provider.finish else "ok"
    assert [{vote.status for vote in judgment.votes} for judgment in result.data] == [{status}, {"ok"}]


def test_a_wrong_key_or_model_is_an_error_at_once_that_names_the_setting(provider: Provider) -> None:
    wrong: list[tuple[str, Any]] = []
    if provider.no_key:
        wrong.append(("judge_engine_key", SecretStr("wrong")))
    if provider.no_model:
        wrong.append(("judge_engine_model", "x"))
    for setting, value in wrong:
        provider.bodies.clear()

        (answer,) = posted(provider, body("a"), **{setting: value})

        assert answer.status_code == 424, answer.text
        assert f"SELFREWARD_{setting.upper()}" in message(answer)
        assert len(provider.bodies) == 1


def test_expected_scores_say_what_is_missing(provider: Provider) -> None:
    """None of the stand-ins has probabilities: some refuse the fields, and some ignore them."""
    (result,) = results(provider, body("a", aggregation="expected"))

    assert result.data[0].failure_kind == "error"
    assert "gave no probabilities" in str(result.data[0].failure_reason)


def test_the_page_lists_these_engines_and_no_others() -> None:
    rows = re.findall(r"^\| \[([^\]]+)\]\((https://[^)]+)\) \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)

    assert [(name, base) for name, _, base in rows] == [(provider.name, provider.base) for provider in providers()]
