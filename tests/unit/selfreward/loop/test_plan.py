"""The plan of a run follows from its recipe alone."""

import pytest

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response
from selfreward.loop import stages
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import METHODS, method_of
from selfreward.loop.tasks import PromptItem, evaluation_tasks
from tests.support.factories import recipe
from tests.support.methods import rollout_tasks, train_job
from tests.support.places import RECIPES

CANARY = [Message(role="user", content="hello")]


def test_stages_with_and_without_eft() -> None:
    assert method_of(recipe()).stages(recipe()) == ["M0", "SFT", "M1", "M2", "M3"]
    assert method_of(recipe()).stages(recipe(loop={"use_eft": False, "iterations": 1})) == ["M0", "M1", "M2"]
    assert method_of(recipe()).stages(recipe(loop={"iterations": 0})) == ["M0", "SFT", "M1"]


def test_phases_of_each_kind_of_stage() -> None:
    plain = recipe()
    assert method_of(plain).phases(plain, "M0") == ("train", "publish", "reload", "evaluate")
    assert method_of(plain).phases(plain, "SFT") == ("train", "publish", "reload", "evaluate")
    served = ("train", "publish", "reload", "evaluate", "watch_model")
    assert method_of(plain).phases(plain, "M1") == ("rollouts", "pairs", *served)
    assert method_of(plain).phases(plain, "M2") == ("prompts", "rollouts", "pairs", "watch_pairs", *served)
    assert method_of(recipe()).phases(recipe(prompts={"source": "self_instruct"}), "M0")[-2:] == ("evaluate", "prompts")
    assert method_of(recipe()).phases(recipe(loop={"use_eft": False}), "M1") == served


def test_a_run_that_starts_from_another_takes_over_all_stages_up_to_m1() -> None:
    started = recipe(loop={"start_from": "other"})
    assert [method_of(started).phases(started, stage) for stage in ("M0", "SFT", "M1")] == [("adopt",)] * 3
    assert method_of(started).phases(started, "M2") == method_of(recipe()).phases(recipe(), "M2")
    own_prompts = recipe(loop={"start_from": "other"}, prompts={"source": "self_instruct"})
    assert method_of(own_prompts).phases(own_prompts, "M0") == ("adopt", "prompts")
    assert train_job("x", started, "M2", CANARY).init_from == "runs/x/weights/M1"
    assert stages.is_adopted(started, "M1")
    assert not stages.is_adopted(started, "M2")


@pytest.mark.parametrize(
    ("stage", "method", "init_from", "datasets"),
    [
        ("M0", "publish", "m", []),
        ("SFT", "sft", "runs/x/weights/M0", ["runs/x/data/ift.jsonl"]),
        ("M1", "sft", "runs/x/weights/M0", ["runs/x/data/ift.jsonl", "runs/x/data/eft.jsonl"]),
        ("M2", "dpo", "runs/x/weights/M1", ["runs/x/pairs/M2.jsonl"]),
        ("M3", "dpo", "runs/x/weights/M2", ["runs/x/pairs/M3.jsonl"]),
    ],
)
def test_training_jobs(stage: str, method: str, init_from: str, datasets: list[str]) -> None:
    job = train_job("x", recipe(), stage, CANARY)
    assert (job.method, job.init_from, job.datasets) == (method, init_from, datasets)
    assert job.output == f"runs/x/weights/{stage}"
    assert job.id == f"x-{stage.lower()}"


def test_anchor_starts_every_round_from_m1() -> None:
    anchored = recipe(loop={"init_from": "anchor"})
    assert train_job("x", anchored, "M3", CANARY).init_from == "runs/x/weights/M1"


@pytest.mark.parametrize("use_eft", [True, False])
def test_rounds_on_positives_alone_fine_tune_the_base_on_seed_data_and_chosen_answers(use_eft: bool) -> None:
    job = train_job("x", recipe(loop={"train_on": "positives", "use_eft": use_eft}), "M3", CANARY)
    seed = ["runs/x/data/ift.jsonl", "runs/x/data/eft.jsonl"] if use_eft else ["runs/x/data/ift.jsonl"]
    assert (job.method, job.init_from) == ("sft", "runs/x/weights/M0")
    assert job.datasets == [*seed, "runs/x/data/positives-M3.jsonl"]


SPIN = {"method": "spin", "loop": {"use_eft": False, "iterations": 3, "replay": [1.0]}, "sampling": {"n": 1}}


def test_spin_samples_beside_the_demonstration_and_has_nothing_judged_or_watched() -> None:
    run_recipe = recipe(**SPIN)
    assert "watch_pairs" not in method_of(run_recipe).phases(run_recipe, "M2")
    item = PromptItem(prompt_id="ift-00001", prompt=CANARY, responses=[Response(text="demonstration")])
    (task,) = rollout_tasks("x", run_recipe, "M2", [item], "policy@2")
    assert (task.judge, [response.text for response in task.responses]) == (None, ["demonstration"])
    assert task.generate is not None
    assert task.generate.n == 1
    assert method_of(run_recipe).answers(run_recipe, "M2") == 2


def test_replay_adds_earlier_rounds_as_far_as_there_are_any() -> None:
    run_recipe = recipe(loop={"iterations": 4, "replay": [0.3, 0.15]})
    assert stages.replays(run_recipe, "M2") == []
    assert stages.replays(run_recipe, "M3") == [("M2", 0.3)]
    assert stages.replays(run_recipe, "M5") == [("M4", 0.3), ("M3", 0.15)]
    assert train_job("x", run_recipe, "M2", CANARY).datasets == ["runs/x/pairs/M2.jsonl"]
    assert train_job("x", run_recipe, "M4", CANARY).datasets == [
        "runs/x/pairs/M4.jsonl",
        "runs/x/data/replay-M4.jsonl",
    ]


def test_tasks_are_the_same_when_made_again_and_differ_between_stages_versions_and_seeds() -> None:
    items = [PromptItem(prompt_id=f"p{n}", prompt=CANARY) for n in range(3)]
    first = rollout_tasks("x", recipe(), "M2", items, "policy@2")
    assert rollout_tasks("x", recipe(), "M2", items, "policy@2") == first
    assert len({task.key for task in first} | {task.seed for task in first}) == 6
    later = rollout_tasks("x", recipe(), "M3", items, "policy@3")
    assert not {task.key for task in first} & {task.key for task in later}
    assert [task.seed for task in rollout_tasks("x", recipe(seed=1), "M2", items, "policy@2")] != [
        task.seed for task in first
    ]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_base_model_answers_what_the_others_answer_and_judges_nothing(method: str) -> None:
    run_recipe = load_recipe(RECIPES / f"{method.replace('self_rewarding', 'countdown')}.toml", environment={})
    items = [PromptItem(prompt_id=f"h{n}", prompt=CANARY) for n in range(5)]
    ranked = [PromptItem(prompt_id="e0", prompt=CANARY, responses=[Response(text="a"), Response(text="b")])]
    of = method_of(run_recipe)
    assert "evaluate" in of.phases(run_recipe, "M0")
    base, first = (of.evaluation_tasks("x", run_recipe, stage, items, ranked, "policy@1") for stage in ("M0", "M1"))
    assert {task.judge for task in base} == {None}
    asked = [(task.part, task.prompt_id, task.generate) for task in first if task.part != "eft_eval"]
    assert [(task.part, task.prompt_id, task.generate) for task in base] == asked


def test_evaluation_samples_all_prompts_and_judges_the_first_ones() -> None:
    items = [PromptItem(prompt_id=f"h{n}", prompt=CANARY) for n in range(5)]
    run_recipe = recipe(evaluation={"prompts": 4, "judged_prompts": 2})
    tasks = evaluation_tasks("x", run_recipe, "M1", items, [], "policy@1")
    assert [task.judge is not None for task in tasks if task.part == "samples"] == [True, True, False, False]
    greedy = [task for task in tasks if task.part == "greedy"]
    assert [(task.generate.n, task.generate.temperature) for task in greedy if task.generate] == [(1, 0.0)] * 4
