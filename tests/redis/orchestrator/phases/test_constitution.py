"""Revisions and comparisons by a constitution on real Redis, the real worker and the real judge, and their audit."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases.ask_workers import run_all
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.constitution import Constitution, Principle
from selfreward.loop.load import RunRecipe
from selfreward.loop.tasks import PromptItem
from selfreward.store.artifacts import ArtifactStore
from tests.support.methods import rollout_tasks, train_job
from tests.support.orchestrator_bench import Bench, bench, working

RECIPE = RunRecipe.model_validate(
    {
        "name": "r",
        "method": "constitutional",
        "model": "m",
        "data": {"ift": "i", "prompts": "p", "heldout": "h", "constitution": "c"},
        "sampling": {"n": 2},
        "constitution": {"revisions": 2, "principles": 2, "clamp": [0.4, 0.6]},
        "loop": {"use_eft": False},
    }
)
CONSTITUTION = Constitution(
    critique="{prompt} | {response} | find {principle}",
    revision="{prompt} | {response} | {critique} | mend {principle}",
    principles=[Principle(critique=f"c{n}", revision=f"r{n}", choice=f"choice {n}") for n in range(4)],
)
ROLLOUTS = "runs/one/rollouts/{}.jsonl"


async def stage_of(b: Bench, stage: str) -> None:
    """The phases `rollouts` (without its wait for the generator) and `pairs` of a stage on four prompts."""
    b.engine.version = "policy@1"
    # `answer 0` stands in option A in the first order shown and in option B in the second.
    b.engine.winner = lambda text: "(A)" if "answer 0" in text.split("</option_a>")[0] else "(B)"
    store = b.context.services.store
    items = [PromptItem(prompt_id=f"p{n}", prompt=[Message(role="user", content=f"question {n}")]) for n in range(4)]
    rows = [item.model_dump(mode="json", exclude={"responses"}) for item in items]
    store.write_jsonl(paths.data("one", f"prompts-{stage}"), rows)
    store.write_jsonl(paths.data("one", "constitution"), [CONSTITUTION.model_dump()])
    state = b.context.state.model_copy(update={"recipe": RECIPE, "stage": stage, "phase": "rollouts"})
    context = replace(b.context, state=state)
    tasks = rollout_tasks("one", RECIPE, stage, items, "policy@1", constitution=[CONSTITUTION.model_dump()])
    rollouts = await asyncio.wait_for(run_all(context, tasks), 20)
    store.write_jsonl(ROLLOUTS.format(stage), [row.model_dump(mode="json") for row in rollouts])
    await pairs_phase.pairs(replace(context, state=state.model_copy(update={"phase": "pairs"})))


def audited(store: ArtifactStore, stage: str) -> list[str]:
    return [violation.detail for violation in check_stage(store, "one", RECIPE, stage, "policy@1")]


def test_an_answer_is_criticised_and_written_again_and_the_last_one_trains_m1(redis_url: str, store_root: str) -> None:
    async def main() -> list[str]:
        async with bench(redis_url, store_root) as b, working(b.worker):
            await stage_of(b, "M1")
            assert len({body["seed"] for body in b.engine.bodies}) == len(b.engine.bodies) == 4 * 5
            return [body["messages"][-1]["content"] for body in b.engine.bodies]

    requests = asyncio.run(main())
    store = ArtifactStore(store_root)
    assert audited(store, "M1") == []
    critiques = [text for text in requests if "find c" in text]
    assert len(critiques) == len([text for text in requests if "mend r" in text]) == 4 * 2
    assert "question 0 | answer 0 | find" in " ".join(critiques)
    rows = list(store.read_jsonl(paths.revisions("one")))
    assert [row["prompt"][0]["content"] for row in rows] == [f"question {n}" for n in range(4)]
    assert {row["completion"][0]["content"] for row in rows} == {"answer 0"}
    counts = {"prompts": 4, "kept": 4, "blank": 0, "truncated": 0, "unchanged": 4}
    assert store.read_json("runs/one/revisions.json") == counts
    job = train_job("one", RECIPE, "M1", [Message(role="user", content="hello")])
    assert (job.method, job.datasets) == ("sft", [paths.data("one", "ift"), paths.revisions("one")])
    store.write_jsonl(paths.revisions("one"), rows[1:])
    assert audited(store, "M1") == ["not those that the rollouts give"]


def test_answers_are_compared_by_drawn_principles_and_pairs_have_soft_labels(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            await stage_of(b, "M2")
            assert len(b.engine.bodies) == 4 * (1 + 2 * 2)

    asyncio.run(main())
    store = ArtifactStore(store_root)
    assert audited(store, "M2") == []
    pairs = [PreferencePair.model_validate(row) for row in store.read_jsonl(paths.pairs("one", "M2"))]
    assert {(pair.chosen[0].content, pair.rejected[0].content, pair.weight) for pair in pairs} == {
        ("answer 0", "answer 1", 0.6)
    }
    assert {(pair.score_chosen, pair.judge_version, pair.rubric.partition("@")[0]) for pair in pairs} == {
        (1.0, "policy@1", "constitution")
    }
    summary = store.read_json("runs/one/iterations/M2.json")
    assert (summary["prompts"], summary["kept"], summary["pairs"]) == (4, 4, 4)


def _without_a_match(row: dict[str, Any]) -> None:
    row["matches"].pop()


def _by_another_principle(row: dict[str, Any]) -> None:
    row["matches"][0]["principle"] = "what I like"


def _other_winner(row: dict[str, Any]) -> None:
    for match in row["matches"]:
        match["outcome"] = -match["outcome"]


def _other_judge(row: dict[str, Any]) -> None:
    row["judge_version"] = "policy@0"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_without_a_match, "not every two answers once in each order by its principles: ['p0']"),
        (_by_another_principle, "not every two answers once in each order by its principles: ['p0']"),
        (_other_winner, "not those of the rollouts: ['p0', 'p0']"),
        (_other_judge, "compared by ['policy@0'], policy@1 was to compare"),
    ],
)
def test_the_auditor_finds_what_the_constitution_did_not_say(
    redis_url: str, store_root: str, harm: Any, message: str
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            await stage_of(b, "M2")

    asyncio.run(main())
    store = ArtifactStore(store_root)
    first, *others = store.read_jsonl(ROLLOUTS.format("M2"))
    harm(first)
    store.write_jsonl(ROLLOUTS.format("M2"), [first, *others])
    details = audited(store, "M2")
    assert any(message in violation for violation in details), details
