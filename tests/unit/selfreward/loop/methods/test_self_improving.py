"""Which questions train: those that the policy answers rightly at times, by its own verdict."""

from typing import Any

import pytest

from orchestrator.phases.retention import models_to_keep
from selfreward.contracts.base import Message
from selfreward.contracts.judging import Judgment, Vote
from selfreward.contracts.reinforcement import OwnVerdicts
from selfreward.loop.load import parse_recipe
from selfreward.loop.methods import method_of
from selfreward.loop.methods.self_improving import identity, pass_rate, select_questions
from selfreward.loop.self_instruct import prompt_rows
from selfreward.recipe.recipe import RecipeError
from tests.support.factories import DATA, SELF_IMPROVING, VERDICTS, probe, rollout, self_improving
from tests.support.methods import train_job

CANARY = [Message(role="user", content="hello")]
RULES = OwnVerdicts(answer_format=r"[-+*=;0-9 ]+", correct_from=5)


def asked(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_the_pass_rate_counts_unreadable_verdicts_and_wrong_formats_as_wrong() -> None:
    assert pass_rate(probe("p", "q", [5, 4, None, 5]), RULES) == 0.5
    gated = rollout([("1 + 1 = 2", [5]), ("trust me", [5])])
    assert pass_rate(gated, RULES) == 0.5


def test_an_answer_that_the_engine_failed_to_judge_says_nothing() -> None:
    failed = Judgment(id="1", index=1, status="unscored", votes=[Vote(status="error")], valid_votes=0)
    answers = probe("p", "q", [5, 5])
    half = answers.model_copy(update={"judgments": [answers.judgments[0], failed]})
    assert pass_rate(half, RULES) == 1.0
    none = answers.model_copy(update={"judgments": [failed, failed]})
    assert pass_rate(none, RULES) is None
    assert select_questions([none], RULES, [])[1]["unscored"] == 1


def test_only_questions_that_are_sometimes_right_train() -> None:
    rollouts = [
        probe("easy", "Use 1 2", [5, 5]),
        probe("hard", "Use 3 4", [0, None]),
        probe("good", "Use 5 6", [5, 0]),
        probe("also", "Use 7 8", [0, 5]),
    ]
    kept, counts = select_questions(rollouts, RULES, [])
    assert [(question.prompt_id, question.pass_rate) for question in kept] == [("good", 0.5), ("also", 0.5)]
    assert counts == {"kept": 2, "tie": 2, "unscored": 0, "below_margin": 0, "filtered": 0, "truncated": 0}


def test_the_bounds_of_the_recipe_are_exclusive() -> None:
    rules = RULES.model_copy(update={"min_pass_rate": 0.25, "max_pass_rate": 0.75})
    rollouts = [probe(f"p{right}", f"Use {right}", [5.0] * right + [0.0] * (4 - right)) for right in range(5)]
    kept, counts = select_questions(rollouts, rules, [])
    assert [question.prompt_id for question in kept] == ["p2"]
    assert (counts["tie"], counts["filtered"]) == (2, 2)


def test_a_question_trains_once_and_never_when_it_is_held_out() -> None:
    rollouts = [
        probe("first", "Use 1 2 3 to make 6 .", [5, 0]),
        probe("again", "Use 3 2 1 to make 6 .", [5, 0]),
        probe("held", "use 9 2 1 to make 8 .", [5, 0]),
        probe("other", "Use 1 2 3 to make 5 .", [5, 0]),
    ]
    kept, counts = select_questions(rollouts, RULES, [asked("Use 1 2 9 to make 8 .")])
    assert [question.prompt_id for question in kept] == ["first", "other"]
    assert counts["filtered"] == 2


def test_identity_keeps_operators_and_counts() -> None:
    assert identity(asked("3 - 2")) != identity(asked("3 + 2"))
    assert identity(asked("Use 2 2 3")) != identity(asked("Use 2 3"))


def test_written_questions_have_ids_of_their_stage() -> None:
    rows = prompt_rows(["Use 1", "Use 2"], "m3")
    assert [row["prompt_id"] for row in rows] == ["m3-00000", "m3-00001"]
    assert rows[1]["prompt"] == [{"role": "user", "content": "Use 2"}]


def test_the_policy_writes_its_questions_in_every_round_and_not_the_base_model() -> None:
    writing = self_improving(prompts={"source": "self_instruct"})
    assert "prompts" not in method_of(writing).phases(writing, "M0")
    for stage in ("M2", "M3"):
        assert method_of(writing).phases(writing, stage)[:5] == ("prompts", "rollouts", "pairs", "watch_pairs", "train")


def test_the_job_of_a_round_trains_on_its_questions_and_pins_its_judge() -> None:
    job = train_job("x", self_improving(judging={"votes": 5, "rubric": "countdown"}), "M3", CANARY, "policy@4")
    assert (job.method, job.init_from, job.datasets) == ("rl", "runs/x/weights/M2", ["runs/x/data/questions-M3.jsonl"])
    assert job.verdicts is not None
    assert (job.verdicts.policy, job.verdicts.votes, job.verdicts.rubric) == ("policy@4", 5, "countdown")
    assert (job.verdicts.correct_from, job.verdicts.samples) == (5, "runs/x/samples/M3.jsonl")


@pytest.mark.parametrize(("judge", "stage", "name"), [("anchor", "M3", "M1"), ("previous", "M3", "M2")])
def test_the_judge_is_frozen_or_the_model_that_the_round_starts_from(judge: str, stage: str, name: str) -> None:
    run_recipe = self_improving(verdicts={**VERDICTS, "judge": judge}, retention={"keep_checkpoints": 1})
    assert method_of(run_recipe).training_judge(run_recipe, stage) == name
    models = ["M0", "SFT", "M1", "M2"]
    assert ("M1" in models_to_keep(run_recipe, models, models)) == (judge == "anchor")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"pairs": {"margin": 1}}, "trains on no pairs: leave out `pairs`, `dpo` and loop.replay"),
        ({"judging": {"annotator": "engine"}, "loop": {"use_eft": False}}, r"judging\.annotator='engine': method"),
        ({"method": "self_rewarding"}, "the section `rl` is for method='self_improving'"),
        ({"loop": {"measure_consistency": True}}, r"loop\.measure_consistency is for methods that train on pairs"),
        ({"rl": {"batch_size": 12, "group": 8}}, "batch_size=12 is not a multiple of group=8"),
        ({"rl": {"ppo": {"gae_lambda": 0.5}}}, "the section `ppo` is for algorithm='ppo'"),
        ({"verdicts": {"answer_format": "("}}, r"'\(' is not a regular expression"),
        ({"verdicts": {"min_pass_rate": 0.5, "max_pass_rate": 0.5}}, r"min_pass_rate=0\.5 leaves nothing below"),
    ],
)
def test_a_recipe_that_would_not_be_followed_is_refused(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"name": "r", "model": "m", "data": DATA, **SELF_IMPROVING, **sections}, "r.toml")
