"""The wire contracts refuse what contradicts itself and name what is wrong."""

from typing import Any

import pytest
from pydantic import ValidationError

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.judging import JudgeRequest, Judgment, Vote
from selfreward.contracts.rollouts import PreferencePair, Response, Rollout
from selfreward.contracts.training import DpoHyper, SftHyper, TrainJob

USER = [Message(role="user", content="hi")]
ANSWER = [Message(role="assistant", content="yes")]


def pair(chosen: float, rejected: float) -> PreferencePair:
    return PreferencePair(
        prompt=USER,
        chosen=ANSWER,
        rejected=ANSWER,
        prompt_id="p",
        score_chosen=chosen,
        score_rejected=rejected,
        policy_version="policy@1",
        judge_version="policy@1",
        rubric="r@sha256:0",
    )


def test_a_vote_has_a_score_exactly_when_it_is_ok() -> None:
    assert Vote(score=4.5, status="ok").score == 4.5
    with pytest.raises(ValidationError, match="only an ok vote has a score"):
        Vote(score=0.0, status="unparsed")
    with pytest.raises(ValidationError, match="only an ok vote has a score"):
        Vote(status="ok")


@pytest.mark.parametrize(("chosen", "rejected"), [(3.0, 3.0), (2.0, 3.0), (float("nan"), 1.0)])
def test_a_pair_without_a_preference_is_refused(chosen: float, rejected: float) -> None:
    with pytest.raises(ValidationError, match="drop ties"):
        pair(chosen, rejected)


def test_margin_is_the_score_gap() -> None:
    assert pair(4.5, 2.0).margin == 2.5


def test_a_rollout_needs_one_judgment_for_each_response() -> None:
    judgment = Judgment(id="0", index=0, status="unscored", votes=[], valid_votes=0)
    with pytest.raises(ValidationError, match="1 entries for 2 responses"):
        Rollout(
            key="k",
            run="r",
            stage="M1",
            prompt_id="p",
            prompt=USER,
            policy_version="policy@1",
            responses=[Response(text="a"), Response(text="b")],
            judgments=[judgment],
        )


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        JudgeRequest.model_validate({"items": [{"prompt": "a", "response": "b"}], "temprature": 0.1})


def test_content_key_depends_on_content_and_nothing_else() -> None:
    assert content_key("run", 1, {"a": 1, "b": 2}) == content_key("run", 1, {"b": 2, "a": 1})
    assert content_key("run", 1) != content_key("run", 2)
    assert content_key("ab", "c") != content_key("a", "bc")


def test_a_training_job_carries_the_section_of_its_method_and_no_other() -> None:
    common: dict[str, Any] = {
        "id": "train-x-m1",
        "run": "x",
        "stage": "M1",
        "init_from": "a",
        "datasets": ["d"],
        "output": "o",
        "canary": USER,
    }
    assert TrainJob(method="sft", sft=SftHyper(), **common).dpo is None
    with pytest.raises(ValidationError, match="sft"):
        TrainJob(method="sft", dpo=DpoHyper(), **common)
