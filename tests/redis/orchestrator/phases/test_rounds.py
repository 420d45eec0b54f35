"""Rounds of the methods that bring answers of their own: real Redis, real worker, a stand-in engine."""

import asyncio

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases import prompts as prompts_phase
from orchestrator.phases.ask_workers import run_tasks
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.tasks import PromptItem
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe
from tests.support.methods import rollout_tasks
from tests.support.orchestrator_bench import bench, enter, working

QUESTIONS = [[{"role": "user", "content": f"question {n}"}] for n in range(6)]


def test_a_spin_round_asks_for_no_judgment_and_passes_the_auditor(redis_url: str, store_root: str) -> None:
    store = ArtifactStore(store_root)
    answers = [[{"role": "assistant", "content": f"answer {n % 2}"}] for n in range(6)]
    rows = [{"prompt": prompt, "completion": answer} for prompt, answer in zip(QUESTIONS, answers, strict=True)]
    store.write_jsonl(paths.data("one", "ift"), rows)
    run_recipe = recipe(method="spin", sampling={"n": 1}, loop={"use_eft": False}, prompts={"per_iteration": 6})

    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            enter(b.context, run_recipe, "M2")
            await prompts_phase.prompts(b.context)
            items = [PromptItem.model_validate(row) for row in store.read_jsonl(paths.data("one", "prompts-M2"))]
            rollouts, _ = await asyncio.wait_for(
                run_tasks(b.context, rollout_tasks("one", run_recipe, "M2", items, "policy@3")), 20
            )
            store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json") for row in rollouts])
            await pairs_phase.pairs(b.context)
            assert len(b.engine.bodies) == 6

    asyncio.run(main())
    assert list(check_stage(store, "one", run_recipe, "M2", "policy@3")) == []
    pairs = list(store.read_jsonl(paths.pairs("one", "M2")))
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in pairs] == [
        ("answer 1", "answer 0")
    ] * 3


def test_each_dno_round_takes_other_prompts_with_the_teachers_answers(redis_url: str, store_root: str) -> None:
    store = ArtifactStore(store_root)
    rows = [
        {"prompt_id": f"prompts-{n:05d}", "prompt": prompt, "response": f"gold {n}"}
        for n, prompt in enumerate(QUESTIONS)
    ]
    store.write_jsonl(paths.data("one", "prompts"), rows)
    run_recipe = recipe(method="dno", prompts={"per_iteration": 3})

    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            for stage in ("M2", "M3"):
                enter(b.context, run_recipe, stage)
                await prompts_phase.prompts(b.context)

    asyncio.run(main())
    taken = {stage: list(store.read_jsonl(paths.data("one", f"prompts-{stage}"))) for stage in ("M2", "M3")}
    given = {stage: [row["responses"][0]["text"] for row in rows] for stage, rows in taken.items()}
    assert given == {"M2": ["gold 0", "gold 1", "gold 2"], "M3": ["gold 3", "gold 4", "gold 5"]}
    items = [PromptItem.model_validate(row) for row in taken["M2"]]
    (first, *_) = rollout_tasks("one", run_recipe, "M2", items, "policy@3")
    assert (first.responses[0].text, first.judge) == ("gold 0", run_recipe.judging)
