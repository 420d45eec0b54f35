"""The judge behind engines that limit its rate: nothing is lost, and each failed call is one log line."""

import logging
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from tests.support.judge_engine import Engine, body, fours, judged, message, post


def limited(times: int, headers: dict[str, str], code: str = "rate_limit_exceeded") -> Engine:
    """Refuses the first so many requests for now."""

    def reply(sent: dict[str, Any]) -> Response:
        if len(engine.bodies) > times:
            return fours(sent)
        return JSONResponse({"error": {"message": "slow down", "code": code}}, 429, headers)

    engine = Engine(reply)
    return engine


def failures(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() == "an engine call failed"]


def test_a_429_is_no_failed_attempt(caplog: pytest.LogCaptureFixture) -> None:
    engine = limited(3, {"retry-after-ms": "10"})

    result = judged(engine, body(*"ab"), judge_engine_attempts=1)

    assert [judgment.score for judgment in result.data] == [4] * 2
    assert len(engine.bodies) == 3 + 2
    assert not failures(caplog)
    assert 1 <= sum("limits its rate" in record.getMessage() for record in caplog.records) <= 3


def test_a_429_counts_against_the_deadline() -> None:
    answer = post(limited(10_000, {}), body("a"), judge_engine_deadline=0.5)

    assert answer.status_code == 503
    assert "limits its rate" in message(answer)


def test_a_pause_beyond_the_deadline_is_an_error_at_once() -> None:
    engine = limited(10_000, {"Retry-After": "3600"})

    answer = post(engine, body("a", "b"))

    assert answer.status_code == 503
    assert "limits its rate, and takes nothing for 3600 s" in message(answer)
    assert 1 <= len(engine.bodies) <= 2


def test_an_account_without_credit_is_an_error_at_once(caplog: pytest.LogCaptureFixture) -> None:
    engine = limited(10_000, {}, "insufficient_quota")

    answer = post(engine, body("a"))

    assert answer.status_code == 424
    assert "insufficient_quota" in message(answer)
    assert "asks for payment" in message(answer)
    assert (len(engine.bodies), len(failures(caplog))) == (1, 1)


def test_each_failed_call_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(lambda _: JSONResponse({"error": "x" * 1000}, 500))

    with caplog.at_level(logging.WARNING):
        post(engine, body("a"), judge_engine_attempts=2, judge_engine_model="some-model")

    assert len(engine.bodies) == 2
    first, second = failures(caplog)
    assert (first["status"], first["model"], second["status"]) == (500, "some-model", 500)
    assert 0 <= first["seconds"] < 60
    assert 100 < len(first["reason"]) < 400


def test_an_unreachable_engine_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    post(None, body("a"), judge_engine_attempts=1)

    (line,) = failures(caplog)
    assert line["status"] is None
    assert "ConnectError" in line["reason"]
