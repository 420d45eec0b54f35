"""Rounds of method self_improving: their plan, their questions on real Redis, and what the auditor says of them."""

import asyncio
from typing import Any

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases.ask_workers import model_of_stage, run_tasks
from orchestrator.runs.context import RunContext
from orchestrator.runs.errors import RunFailed
from selfreward.contracts.base import Message
from selfreward.contracts.reinforcement import Sample
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage, check_training
from selfreward.loop.record import ModelRecord, RunState, now
from selfreward.loop.tasks import PromptItem
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import probe, self_improving
from tests.support.methods import rollout_tasks
from tests.support.orchestrator_bench import bench, working


def enter(context: RunContext, run_recipe: Recipe, stage: str = "M2", **fields: Any) -> None:
    context.state = RunState(
        run="one",
        recipe=run_recipe,
        recipe_hash=run_recipe.hash,
        created_at=now(),
        stage=stage,
        phase="rollouts",
        **fields,
    )


def judge(context: RunContext) -> ModelRecord:
    """The model that judges while the present stage trains."""
    stage = context.method.training_judge(context.recipe, context.state.stage)
    assert stage is not None
    return model_of_stage(context, stage)


def test_the_judging_model_is_one_of_the_run(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            first, newest = (
                ModelRecord(name=name, policy_version=f"policy@{n}", artifact="a", digest="d")
                for n, name in enumerate(("M1", "M2"))
            )
            enter(b.context, self_improving(), "M3", models=[first, newest])
            assert judge(b.context) == first
            enter(b.context, self_improving(), "M3", models=[newest])
            with pytest.raises(RunFailed, match="has no model M1: its record is damaged"):
                judge(b.context)

    asyncio.run(main())


def test_the_judge_reads_final_answers_alone(redis_url: str, store_root: str) -> None:
    run_recipe = self_improving(verdicts={"answer_format": r"answer (?P<answer>\d)"})
    item = PromptItem(prompt_id="p0", prompt=[Message(role="user", content="question")])
    (task,) = rollout_tasks("one", run_recipe, "M2", [item], "policy@3")

    async def main() -> list[str]:
        async with bench(redis_url, store_root) as b, working(b.worker):
            enter(b.context, run_recipe)
            await asyncio.wait_for(run_tasks(b.context, [task]), 20)
            return [body["messages"][-1]["content"] for body in b.engine.bodies if "Score" in str(body["messages"])]

    judged = asyncio.run(main())
    assert len(judged) == 2
    assert not any("answer 0" in prompt or "answer 1" in prompt for prompt in judged)


PROBES = [
    probe("p0", "Use 1 2 to make 3 .", [5, 0]),
    probe("p1", "Use 4 5 to make 9 .", [5, 5]),
    probe("p2", "Use 5 5 to make 9 .", [0, 5]),
]


def chosen(redis_url: str, store_root: str, run_recipe: Recipe) -> ArtifactStore:
    """The phase `pairs` on PROBES; the third question is held out."""
    store = ArtifactStore(store_root)
    store.write_jsonl(paths.data("one", "heldout"), [{"prompt": [{"role": "user", "content": "Use 5 5 to make 9 ."}]}])
    store.write_jsonl(paths.data("one", "prompts-M2"), [{"prompt_id": row.prompt_id} for row in PROBES])
    store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json") for row in PROBES])

    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            enter(b.context, run_recipe)
            await pairs_phase.pairs(b.context)

    asyncio.run(main())
    return store


def test_a_round_keeps_the_questions_that_are_neither_easy_nor_held_out(redis_url: str, store_root: str) -> None:
    run_recipe = self_improving()
    store = chosen(redis_url, store_root, run_recipe)
    name = paths.questions("one", "M2")
    (row,) = store.read_jsonl(name)
    assert (row["prompt_id"], row["pass_rate"]) == ("p0", 0.5)
    summary = store.read_json("runs/one/iterations/M2.json")
    assert [summary[key] for key in ("prompts", "questions", "kept", "ties", "filtered", "pairs")] == [3, 1, 1, 1, 1, 0]
    assert list(check_stage(store, "one", run_recipe, "M2", "policy@1")) == []
    store.write_jsonl(name, [{**row, "prompt_id": "p1"}])
    assert [details.kind for details in check_stage(store, "one", run_recipe, "M2", "policy@1")] == ["questions"]


def test_too_few_questions_fail_the_round_with_the_remedy(redis_url: str, store_root: str) -> None:
    run_recipe = self_improving(rl={"batch_size": 16, "group": 8})
    with pytest.raises(
        RunFailed, match=r"1 of 3 questions can train, and one batch takes 2: .* raise prompts\.per_iter"
    ):
        chosen(redis_url, store_root, run_recipe)


def test_the_auditor_finds_rewards_of_another_judge_or_of_none(redis_url: str, store_root: str) -> None:
    run_recipe = self_improving()
    store = chosen(redis_url, store_root, run_recipe)
    text = "1 + 2 = 3"
    good = Sample(
        step=1, prompt_id="p0", prompt="q", text=text, answer=text, score=5, reward=1, judge_version="policy@1"
    )

    def audited(**changes: Any) -> list[str]:
        store.write_jsonl(paths.samples("one", "M2"), [good.model_copy(update=changes).model_dump(mode="json")])
        return [violation.kind for violation in check_training(store, "one", run_recipe, "M2", "policy@1")]

    assert audited() == []
    assert audited(judge_version="policy@2") == ["policy"]
    assert audited(reward=0) == ["samples"]
    assert audited(answer="another") == ["samples"]
    assert audited(prompt_id="p1") == ["samples"]
