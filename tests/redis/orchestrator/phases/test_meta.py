"""A Meta-Rewarding round on real Redis, the real worker and the real judge, as the auditor sees it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases.ask_workers import run_all, run_tasks
from selfreward.contracts.rollouts import PreferencePair, Rollout
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods.meta_rewarding import MetaRules, meta_tasks
from selfreward.loop.methods.plan import table
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import rollout
from tests.support.orchestrator_bench import Bench, bench, working

RECIPE = RunRecipe.model_validate(
    {
        "name": "r",
        "method": "meta_rewarding",
        "model": "m",
        "data": {"ift": "i", "eft": "e", "prompts": "p", "heldout": "h"},
        "sampling": {"n": 2},
        "judging": {"votes": 3},
        "loop": {"iterations": 3},
    }
)
META = paths.meta("one", "M2")


def judged(name: str) -> Rollout:
    """Two answers; the votes on each have three different texts, and those on the first one differ most."""
    row = rollout({"A": [5, 3, 1], "B": [1, 1, 2]}, name)
    judgments = [
        judgment.model_copy(
            update={"votes": [vote.model_copy(update={"text": f"v{n}"}) for n, vote in enumerate(judgment.votes)]}
        )
        for judgment in row.judgments
    ]
    return row.model_copy(update={"judgments": judgments})


def best_is_v1(text: str) -> str:
    """A meta-judge who finds `v1` the best judgment, then `v0`."""
    shown = [text.split(f"<judgment_{side}>")[1].split("</judgment")[0].strip() for side in "ab"]
    return "AB"[shown.index(min(shown, key=["v1", "v0", "v2"].index))]


async def round_of(b: Bench) -> list[str]:
    """The phases `meta` (without its wait for the generator) and `pairs` of M2; returns what the auditor finds."""
    b.engine.version, b.engine.winner = "policy@1", best_is_v1
    rows = [judged(f"p{number}") for number in range(4)]
    store = b.context.services.store
    store.write_jsonl(paths.data("one", "prompts-M2"), [{"prompt_id": row.prompt_id} for row in rows])
    store.write_jsonl("runs/one/rollouts/M2.jsonl", [row.model_dump(mode="json") for row in rows])
    state = b.context.state.model_copy(update={"recipe": RECIPE, "phase": "meta"})
    context = replace(b.context, state=state)
    rollouts = await asyncio.wait_for(run_all(context, meta_tasks("one", RECIPE, "M2", rows, "policy@1")), 20)
    store.write_jsonl(META, [row.model_dump(mode="json") for row in rollouts])
    await pairs_phase.pairs(replace(context, state=state.model_copy(update={"phase": "pairs"})))
    return audited(store)


def audited(store: ArtifactStore) -> list[str]:
    return [violation.detail for violation in check_stage(store, "one", RECIPE, "M2", "policy@1")]


def test_every_two_judgments_are_compared_in_both_orders_and_train_the_judge(redis_url: str, store_root: str) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            assert await round_of(b) == []
            assert {body["model"] for body in b.engine.bodies} == {"policy@1"}
            assert len(b.engine.bodies) == 4 * 6
            assert all(body["temperature"] == table(RECIPE, MetaRules).temperature for body in b.engine.bodies)

    asyncio.run(main())
    store = ArtifactStore(store_root)
    pairs = [PreferencePair.model_validate(row) for row in store.read_jsonl(paths.pairs("one", "M2"))]
    assert [pair.kind for pair in pairs] == ["actor"] * 4 + ["judge"] * 4
    judge = pairs[-1]
    assert (judge.chosen[0].content, judge.rejected[0].content) == ("v1", "v2")
    assert (judge.prompt_id, judge.judge_version, judge.rubric.partition("@")[0]) == ("p3.0", "policy@1", "additive5")
    assert "question" in judge.prompt[0].content
    assert "Score:" in judge.prompt[0].content, "the pair's prompt is the judge's own"
    summary = store.read_json("runs/one/iterations/M2.json")
    assert (summary["pairs"], summary["judge_pairs"]) == (4, 4)
    assert summary["mean_score"] == pytest.approx(13 / 6)
    # Scores are 5, 3 and 1 in the order v0, v1, v2: the meta-judge leaves the higher score in one of three pairs.
    assert summary["meta"] == pytest.approx(
        {
            "prompts": 4,
            "kept": 4,
            "equal": 0,
            "long": 0,
            "surplus": 0,
            "no_verdict": 0,
            "prefers_higher_score": 2 / 3,
            "first_wins": 1 / 2,
            "flips": 0,
        }
    )


def _without_a_match(row: dict[str, Any]) -> None:
    row["matches"].pop()


def _other_winner(row: dict[str, Any]) -> None:
    for match in row["matches"]:
        match["outcome"] = -match["outcome"]


def _other_judgment(row: dict[str, Any]) -> None:
    row["judgments"][0]["votes"][0]["score"] = 0.0


def _other_policy(row: dict[str, Any]) -> None:
    row["policy_version"] = "policy@0"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_without_a_match, "not every two judgments once in each order: ['p0']"),
        (_other_winner, "judge pairs are not those of the meta-judge"),
        (_other_judgment, "not the round's own judgments: ['p0']"),
        (_other_policy, "answered by ['policy@0'], policy@1 was to answer"),
        (None, "1 prompts missing: ['p0']"),
    ],
)
def test_the_auditor_finds_what_the_meta_judge_did_not_say(
    redis_url: str, store_root: str, harm: Any, message: str
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root) as b, working(b.worker):
            assert await round_of(b) == []

    asyncio.run(main())
    store = ArtifactStore(store_root)
    first, *others = store.read_jsonl(META)
    if harm:
        harm(first)
    store.write_jsonl(META, [*([first] if harm else []), *others])
    assert message in audited(store)


def test_comparisons_that_the_engine_failed_are_tried_again_and_at_last_have_no_verdict(
    redis_url: str, store_root: str
) -> None:
    async def main() -> None:
        async with bench(redis_url, store_root, claim_after_s=1, deliveries=2) as b, working(b.worker):
            b.engine.version, b.engine.winner = "policy@1", best_is_v1
            b.engine.fail = lambda text: "<judgment_a>\nv2" in text
            tasks = meta_tasks("one", RECIPE, "M2", [judged("p0")], "policy@1")
            state = b.context.state.model_copy(update={"recipe": RECIPE, "phase": "meta"})
            (rollouts,), failed = await asyncio.wait_for(run_tasks(replace(b.context, state=state), tasks), 20)
            assert failed == {}
            outcomes = {(match.first, match.second): (match.outcome, match.status) for match in rollouts.matches}
            assert outcomes[2, 0] == outcomes[2, 1] == (0, "error")
            assert outcomes[1, 0] == (1, "ok")
            assert outcomes[0, 1] == (-1, "ok")
            assert len(b.engine.bodies) == 2 * 6, "each delivery compares all of them again"

    asyncio.run(main())
