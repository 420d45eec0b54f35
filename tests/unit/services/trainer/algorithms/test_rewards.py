"""Rewards from the real judge service, whose engine writes what the test says."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from selfreward.client.http import ServiceClient, ServiceError
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.reinforcement import JobVerdicts, Sample
from services.trainer.algorithms.rewards import JudgeAway, SampleLog, Verdicts, all_samples
from tests.support.judge_engine import Engine, Reply, completion, content
from tests.support.listening import listening_judge

FIVE, THREE = "7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 10"


def by_answer(sent: dict[str, Any]) -> Response:
    """Full marks for an answer that ends at 33, no readable verdict for one without an equals sign."""
    answer = content(sent).rsplit("Answer : ", 1)[1]
    said = "Score: 5" if answer.endswith("33") else "Score: 3" if "=" in answer else "what is this"
    return completion(*[said] * sent["n"])


def rules(**changes: Any) -> JobVerdicts:
    values = {"rubric": "countdown", "votes": 2, "temperature": 0.7, "top_p": 0.9, "max_tokens": 24}
    values |= {"policy": "policy@7", "samples": "s", "correct_from": 4.5, "answer_format": "[-+*=;0-9 ]+"}
    return JobVerdicts.model_validate({**values, **changes})


@contextmanager
def verdicts(folder: Path, reply: Reply, asked: JobVerdicts) -> Iterator[tuple[Verdicts, Engine]]:
    engine = Engine(reply)
    with listening_judge(engine, judge_engine_attempts=1) as url:

        def connect() -> JudgeClient:
            return JudgeClient(ServiceClient(url, attempts=1))

        yield Verdicts(asked, 0, SampleLog(folder, 0, 0), connect), engine


def reward(found: Verdicts, *texts: str, step: int = 1) -> list[float]:
    prompt = [{"role": "user", "content": "Use 7 3 12 to make 33 ."}]
    return found.rewards([prompt] * len(texts), texts, ["p0"] * len(texts), step)


def test_a_verdict_is_worth_one_or_nothing_and_a_wrong_form_is_not_asked_about(tmp_path: Path) -> None:
    with verdicts(tmp_path, by_answer, rules()) as (found, engine):
        texts = [FIVE, THREE, "12", "trust me", f"<think>hm</think>{FIVE}", FIVE]
        assert reward(found, *texts) == [1, 0, 0, 0, 1, 1]
    asked = [content(body).rsplit("Answer : ", 1)[1] for body in engine.asked]
    assert sorted(asked) == sorted([FIVE, THREE, "12"])
    assert {body["model"] for body in engine.bodies} == {"policy@7"}
    samples = all_samples(tmp_path)
    assert [sample.score for sample in samples] == [5, 3, None, None, 5, 5]
    assert [sample.answer for sample in samples] == [FIVE, THREE, "12", None, FIVE, FIVE]
    assert [sample.judge_version for sample in samples] == ["policy@7"] * 3 + [None] + ["policy@7"] * 2
    assert samples[0].prompt == "Use 7 3 12 to make 33 ."


def test_an_engine_that_fails_is_asked_again_and_never_a_zero(tmp_path: Path) -> None:
    turns = itertools.count()

    def falters(sent: dict[str, Any]) -> Response:
        return JSONResponse({"error": {"message": "busy"}}, 500) if next(turns) < 3 else by_answer(sent)

    with verdicts(tmp_path, falters, rules()) as (found, _):
        assert reward(found, FIVE, THREE) == [1, 0]
    assert len(all_samples(tmp_path)) == 2


def test_a_judge_that_stays_away_or_serves_another_version_fails_the_attempt(tmp_path: Path) -> None:
    def other(sent: dict[str, Any]) -> Response:
        return JSONResponse({"error": {"message": "policy@9 is served"}}, 409)

    with verdicts(tmp_path, other, rules(patience_s=0)) as (found, _), pytest.raises(JudgeAway, match="policy@9"):
        reward(found, FIVE)
    away = Verdicts(
        rules(patience_s=0),
        0,
        SampleLog(tmp_path, 0, 0),
        lambda: JudgeClient(ServiceClient("http://127.0.0.1:9", attempts=1)),
    )
    with pytest.raises(JudgeAway, match="1 of 1 answers have no verdict after 0 s"):
        reward(away, FIVE)
    assert all_samples(tmp_path) == []


def test_what_waiting_cannot_help_is_not_waited_for(tmp_path: Path) -> None:
    with (
        verdicts(tmp_path, by_answer, rules(rubric="none")) as (found, _),
        pytest.raises(ServiceError, match="none"),
    ):
        reward(found, FIVE)


def sample(step: int) -> Sample:
    return Sample(step=step, prompt_id="p", prompt="q", text="t", answer="t", score=5, reward=1)


def test_what_came_after_the_checkpoint_is_dropped_and_a_torn_line_too(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, 0, 0)
    for step in (1, 2, 3):
        log.write([sample(step)])
    SampleLog(tmp_path, 1, 0).write([sample(1)])
    with (tmp_path / "samples-0.jsonl").open("a") as stream:
        stream.write('{"step": 4, "prom')
    assert [found.step for found in all_samples(tmp_path)] == [1, 1, 2, 3]
    SampleLog(tmp_path, 0, 2)
    assert [found.step for found in all_samples(tmp_path)] == [1, 1, 2]
