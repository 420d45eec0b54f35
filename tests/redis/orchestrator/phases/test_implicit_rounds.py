"""Rounds of CREAM and SCIR: what is asked for, what the auditor checks, what must stay for the next round."""

import asyncio
import contextlib
import re

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases import training
from orchestrator.phases.ask_workers import run_tasks
from selfreward.contracts.base import Message
from selfreward.contracts.training import TrainStatus, status_key
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.tasks import PromptItem
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe
from tests.support.implicit_rounds import rows
from tests.support.methods import rollout_tasks, score_job
from tests.support.orchestrator_bench import bench, enter, working

CANARY = [Message(role="user", content="hello")]
QUESTIONS = [[{"role": "user", "content": f"question {n}"}] for n in range(6)]


def lower_number(text: str) -> str:
    """The stand-in judge's taste: `answer 0` beats `answer 1`, whichever stands first."""
    first, second = (int(number) for number in re.findall(r"<response_[ab]>\s*answer (\d+)", text))
    return "A" if first < second else "B"


def a_round(redis_url: str, store: ArtifactStore, run_recipe: Recipe, now: list[float]) -> int:
    """Rollouts by the real worker and pairs of the stage M3, every answer's rewards being `now`; requests made."""
    store.write_jsonl(
        paths.data("one", "prompts-M3"),
        ({"prompt_id": f"p{n}", "prompt": prompt} for n, prompt in enumerate(QUESTIONS)),
    )

    async def main() -> int:
        async with bench(redis_url, store.root) as b, working(b.worker):
            b.engine.winner = lower_number
            enter(b.context, run_recipe, "M3")
            items = [PromptItem.model_validate(row) for row in store.read_jsonl(paths.data("one", "prompts-M3"))]
            rollouts, _ = await asyncio.wait_for(
                run_tasks(b.context, rollout_tasks("one", run_recipe, "M3", items, "policy@3")), 60
            )
            store.write_jsonl("runs/one/rollouts/M3.jsonl", [row.model_dump(mode="json") for row in rollouts])
            scored = [row for rollout in rollouts for row in rows(now, now, rollout.prompt_id).values()]
            store.write_jsonl(paths.logprobs("one", "M3"), [row.model_dump(mode="json") for row in reversed(scored)])
            await pairs_phase.pairs(b.context)
            return len(b.engine.bodies)

    return asyncio.run(main())


def test_a_cream_round_asks_no_judge_and_passes_the_auditor(redis_url: str, store_root: str) -> None:
    store = ArtifactStore(store_root)
    run_recipe = recipe(method="cream", sampling={"n": 4}, loop={"use_eft": False})
    assert a_round(redis_url, store, run_recipe, [0.0, 3.0, 1.0, 2.0]) == len(QUESTIONS)
    assert list(check_stage(store, "one", run_recipe, "M3", "policy@3")) == []
    pairs = list(store.read_jsonl(paths.pairs("one", "M3")))
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in pairs] == [
        ("answer 1", "answer 0")
    ] * len(QUESTIONS)
    assert {row["weight"] for row in pairs} == {1.0}
    summary = store.read_json("runs/one/iterations/M3.json")
    assert (summary["consistency"], summary["kendall_tau"], summary["chosen_rejected_gap"]) == (1.0, 1.0, None)


def test_a_scir_round_compares_in_both_orders_and_passes_the_auditor(redis_url: str, store_root: str) -> None:
    store = ArtifactStore(store_root)
    run_recipe = recipe(method="scir", sampling={"n": 4}, loop={"use_eft": False})
    # One request for the answers of a prompt, and one for each order of its two pairs.
    assert a_round(redis_url, store, run_recipe, [2.0, 1.0, 1.0, 2.0]) == len(QUESTIONS) * 5
    assert list(check_stage(store, "one", run_recipe, "M3", "policy@3")) == []
    pairs = list(store.read_jsonl(paths.pairs("one", "M3")))
    assert [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in pairs] == [
        ("answer 0", "answer 1")
    ] * len(QUESTIONS)
    assert {row["rubric"].partition("@")[0] for row in pairs} == {"pairwise"}
    assert store.read_json("runs/one/iterations/M3.json")["agreement"] == 0.5
    _check_damage(store, run_recipe)


def _check_damage(store: ArtifactStore, run_recipe: Recipe) -> None:
    """The auditor misses a comparison, a row of log-probabilities under another model, and one for no answer."""
    name, scored = "runs/one/rollouts/M3.jsonl", paths.logprobs("one", "M3")
    whole, values = list(store.read_jsonl(name)), list(store.read_jsonl(scored))

    def found() -> set[tuple[str, str]]:
        seen = set()
        with contextlib.suppress(KeyError):  # the auditor calls a round unreadable whose pairs cannot be made again
            for one in check_stage(store, "one", run_recipe, "M3", "policy@3"):
                seen.add((one.kind, one.artifact))
        return seen

    store.write_jsonl(name, [{**whole[0], "matches": whole[0]["matches"][1:]}, *whole[1:]])
    assert ("accounting", name) in found()
    store.write_jsonl(name, whole)
    store.write_jsonl(scored, [{**values[0], "logprobs": {"runs/one/weights/M9": -1.0}}, *values[1:]])
    assert ("policy", scored) in found()
    store.write_jsonl(scored, [*values, {**values[0], "index": 9}])
    assert ("accounting", scored) in found()


def test_the_score_phase_follows_the_trainers_job_and_may_be_done_again(redis_url: str, store_root: str) -> None:
    run_recipe = recipe(method="cream")
    job = score_job("one", run_recipe, "M3", CANARY)
    status = TrainStatus(id=job.id, state="done", digest="d")

    async def main() -> None:
        async with bench(redis_url, store_root) as b:
            enter(b.context, run_recipe, "M3")
            store = b.context.services.store
            store.write_jsonl(paths.data("one", "heldout"), [{"prompt": [CANARY[0].model_dump()]}])
            await b.context.services.redis.set(status_key(job.id), status.model_dump_json())
            await asyncio.wait_for(training.score(b.context), 20)
            await asyncio.wait_for(training.score(b.context), 20)

    asyncio.run(main())
