"""`selfreward judge --check`: what it says of engines that can do much, little or nothing."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import JSONResponse, Response

from services.judge.check_engine import check
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine, completion, fours
from tests.support.providers import KEY, MODEL, providers


def checked(engine: Any, capsys: pytest.CaptureFixture[str], **settings: Any) -> tuple[bool, dict[str, str]]:
    """Whether one can judge, and the printed table."""
    given: dict[str, Any] = {"generator_url": "http://engine", **settings}
    can_judge = asyncio.run(check(JudgeSettings(**given), httpx.ASGITransport(engine.app)))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    return can_judge, {line[:26].strip(): line[26:] for line in lines}


def able(sent: dict[str, Any]) -> Response:
    """An engine that can do it all, as vLLM."""
    text = f"Fine, {sent.get('seed')}. Score: 4"
    begun = sent.get("continue_final_message")
    if "structured_outputs" in sent:
        text = "Score: 3"
    token = {"token": "F", "logprob": -1, "top_logprobs": [{"token": "F", "logprob": -1}]}
    reply: dict[str, Any] = {
        "model": "judge-2026-11-30",
        "choices": [
            {
                "message": {"content": text, "reasoning_content": "Hm."},
                "finish_reason": "stop",
                "logprobs": {"content": [token]} if sent.get("logprobs") else None,
            }
        ]
        * sent.get("n", 1),
        "usage": {"prompt_tokens": 9 if begun else 14, "completion_tokens": 4},
    }
    return JSONResponse(reply, headers={"x-ratelimit-remaining-requests": "499"})


def test_an_engine_that_can_do_it_all(capsys: pytest.CaptureFixture[str]) -> None:
    can_judge, table = checked(Engine(able), capsys)

    assert can_judge
    assert table == {
        "ready": "yes",
        "can judge": "yes: its votes are ok, ok, ok, the score is 4.00 of 5",
        "n > 1": "yes",
        "logprobs": "yes",
        "structured outputs": "yes",
        "continue_final_message": "yes",
        "seed": "yes",
        "reasoning content": "yes, it is kept with the votes",
        "rate-limit headers": "x-ratelimit-remaining-requests",
        "fields left out": "none",
        "model that answered": "judge-2026-11-30",
    }


def test_an_engine_that_ignores_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    can_judge, table = checked(Engine(lambda _: completion("Score: 4")), capsys)

    assert can_judge
    for ability in ("n > 1", "logprobs", "continue_final_message"):
        assert table[ability].startswith("no: "), ability
    assert table["seed"] == "unknown: every seed gives the same text"
    assert (table["reasoning content"], table["rate-limit headers"]) == ("none", "none")


def test_an_engine_that_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    def reply(sent: dict[str, Any]) -> Response:
        unknown = {"structured_outputs", "regex", "continue_final_message"} & set(sent)
        return JSONResponse({"error": f"unknown field {sorted(unknown)}"}, 400) if unknown else fours(sent)

    can_judge, table = checked(Engine(lambda sent: reply({"n": 1, **sent})), capsys)

    assert can_judge
    for ability in ("structured outputs", "continue_final_message"):
        assert table[ability].startswith("no: POST")
        assert "HTTP 400" in table[ability]


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.name)
def test_the_engines_of_the_table_can_judge(provider: Any, capsys: pytest.CaptureFixture[str]) -> None:
    can_judge, table = checked(
        provider,
        capsys,
        judge_engine_url=provider.base,
        judge_engine_model=MODEL,
        judge_engine_key=SecretStr(KEY),
    )

    assert can_judge, table
    assert table["n > 1"].startswith("yes" if provider.n and "n" not in provider.left_out else "no")


@pytest.mark.parametrize(
    ("engine", "ready", "why"),
    [
        (Engine(lambda _: JSONResponse({"error": "bad key"}, 401)), "yes", "no: the judging engine refuses the key"),
        (Engine(lambda _: JSONResponse({"error": "down"}, 500)), "yes", "no: the judging engine answered none"),
        (Engine(lambda _: completion("No idea.")), "yes", "no: its votes are unparsed"),
    ],
)
def test_an_engine_that_cannot_judge(engine: Engine, ready: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    can_judge, table = checked(engine, capsys)

    assert not can_judge
    assert table["ready"] == ready
    assert table["can judge"].startswith(why)


def test_the_command_ends_with_a_status_that_says_it() -> None:
    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "selfreward", "judge", "--check"]
        environment = {**os.environ, **{f"SELFREWARD_JUDGE_{name}": value for name, value in settings.items()}}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    unreachable = run(ENGINE_URL="http://127.0.0.1:9/v1")
    assert unreachable.returncode == 1
    assert "is unreachable" in unreachable.stdout
    assert not unreachable.stderr
    wrong = run(CONCURRENCY="many")
    assert wrong.returncode == 2
    assert "SELFREWARD_JUDGE_CONCURRENCY" in wrong.stderr
