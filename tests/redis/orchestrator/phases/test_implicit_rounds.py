"""Rounds of CREAM and SCIR: what is asked for, what the auditor checks, what must stay for the next round."""

import asyncio
import contextlib
import re

import pytest

from orchestrator.phases import pairs as pairs_phase
from orchestrator.phases import training
from orchestrator.phases.ask_workers import run_tasks
from orchestrator.phases.retention import models_to_keep
from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import ResponseLogprobs
from selfreward.contracts.training import Consistency, TrainStatus, status_key
from selfreward.evaluation.report.inputs import load_run
from selfreward.evaluation.report.report import build_report
from selfreward.evaluation.report.tables import tables
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_stage
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.loop.tasks import PromptItem
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import recipe
from tests.support.implicit_rounds import rows
from tests.support.methods import rollout_tasks, score_job, train_job
from tests.support.orchestrator_bench import bench, enter, working
from tests.support.places import RECIPES
from tests.support.synthetic_run import RUN, write_run

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


def test_the_plan_scores_under_the_policy_the_model_before_and_the_base() -> None:
    run_recipe = recipe(method="cream", loop={"iterations": 3})
    assert method_of(run_recipe).phases(run_recipe, "M2")[:5] == ("prompts", "rollouts", "score", "pairs", "train")
    first, second = (score_job("x", run_recipe, stage, CANARY) for stage in ("M2", "M3"))
    assert first.checkpoints == ["runs/x/weights/M1", "runs/x/weights/M0"]
    assert second.checkpoints == ["runs/x/weights/M2", "runs/x/weights/M1", "runs/x/weights/M0"]
    assert (second.id, second.method, second.output) == ("x-m3-score", "logprobs", "runs/x/data/logprobs-M3.jsonl")
    assert score_job("x", run_recipe, "M3", CANARY) == second
    measured = recipe(loop={"measure_consistency": True})
    assert "score" in method_of(measured).phases(measured, "M2")
    assert "score" not in method_of(recipe()).phases(recipe(), "M2")


def test_consistency_is_a_matter_of_the_training_job() -> None:
    run_recipe = recipe(method="scir", scir={"mode": "consistency", "consistency": {"weight": 2.0}})
    assert train_job("x", run_recipe, "M2", CANARY).consistency == Consistency(weight=2.0)
    assert train_job("x", recipe(method="scir"), "M2", CANARY).consistency is None


def test_retention_keeps_the_model_before_while_a_round_is_still_to_be_scored() -> None:
    run_recipe = recipe(method="cream", loop={"iterations": 3, "use_eft": False}, retention={"keep_checkpoints": 1})
    models = ["M0", "M1", "M2", "M3"]
    assert models_to_keep(run_recipe, models, ["M0", "M1", "M2", "M3"]) == {"M0", "M2", "M3"}
    assert models_to_keep(run_recipe, models, ["M0", "M1", "M2", "M3", "M4"]) == {"M0", "M3"}


def test_quotas_count_what_is_compared() -> None:
    run_recipe = recipe(
        method="scir", sampling={"n": 5}, scir={"votes": 2, "max_tokens": 100}, evaluation={"prompts": 1}
    )
    silent = recipe(method="cream", sampling={"n": 5}, evaluation={"prompts": 1})
    prompts = run_recipe.loop.iterations * run_recipe.prompts.per_iteration
    assert (
        method_of(run_recipe).tokens(run_recipe, 0, 0) - method_of(silent).tokens(silent, 0, 0)
        == prompts * 2 * 2 * 2 * 100
    )


@pytest.mark.parametrize("name", ["cream", "scir"])
def test_the_shipped_recipe_is_of_its_method(name: str) -> None:
    assert load_recipe(RECIPES / f"{name}.toml", environment={}).method == name


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("cream", "pairs.margin=1", r"method='cream' chooses pairs by its own rule: of `pairs` give judge_pairs alone"),
        ("cream", "dpo.loss=ipo", r"dpo\.loss='ipo' .* method='cream' are for the sigmoid loss"),
        ("scir", "pairs.length_control=0.1", r"method='scir' chooses pairs by its own rule"),
        ("scir", "scir.votes=0", r"scir\.votes = 0: .*greater than or equal to 1"),
        ("scir", "cream.soft_labels=dynamic", r"the section `cream` is for method='cream', not 'scir'"),
        ("self_rewarding", "scir.mode=consistency", r"the section `scir` is for method='scir', not 'self_rewarding'"),
        ("cream", "sampling.n=1", r"sampling\.n=1 leaves nothing to prefer"),
    ],
)
def test_keys_without_a_use_are_refused(method: str, override: str, message: str) -> None:
    base = {"self_rewarding": "countdown"}.get(method, method)
    with pytest.raises(RecipeError, match=message):
        load_recipe(RECIPES / f"{base}.toml", [override], environment={})


def test_scir_has_no_outside_judge() -> None:
    with pytest.raises(RecipeError, match="method='scir' asks the policy itself"):
        load_recipe(
            RECIPES / "scir.toml", ["judging.annotator=engine", "loop.use_eft=false", "pairs.judge_pairs=0"], {}
        )


def test_judge_pairs_have_no_probability_for_the_consistency_term() -> None:
    with pytest.raises(RecipeError, match=r"pairs\.judge_pairs=0\.2: nobody compared these"):
        load_recipe(RECIPES / "scir.toml", ["scir.mode=consistency", "pairs.judge_pairs=0.2"], environment={})


def test_the_report_has_a_table_of_implicit_rewards_where_they_were_measured(store_root: str) -> None:
    store = ArtifactStore(store_root)
    write_run(store, prompts=20, judged=10)
    name = f"runs/{RUN}/iterations/M2.json"
    figures = {"consistency": 0.8, "kendall_tau": 0.6, "agreement": 0.5}
    store.write_json(name, {**store.read_json(name), **figures})
    titled = {table.title: table for table in tables(build_report(load_run(store, RUN), resamples=100))}
    assert titled["Implicit rewards"].rows == [("M2", "0.800", "0.600", "50.0")]


def test_rows_say_which_answer_they_are_of() -> None:
    (row,) = rows([1.0], [2.0]).values()
    assert ResponseLogprobs.model_validate_json(row.model_dump_json()) == row
