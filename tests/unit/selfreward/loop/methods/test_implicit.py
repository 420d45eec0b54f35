"""The plan, the jobs and the recipes of the methods that read implicit rewards."""

import pytest

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import ResponseLogprobs
from selfreward.contracts.training import Consistency
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.recipe.recipe import RecipeError
from tests.support.factories import recipe
from tests.support.implicit_rounds import rows
from tests.support.methods import score_job, train_job
from tests.support.places import RECIPES

CANARY = [Message(role="user", content="hello")]


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


@pytest.mark.parametrize("name", ["cream", "scir"])
def test_the_shipped_recipe_is_of_its_method(name: str) -> None:
    assert load_recipe(RECIPES / f"{name}.toml", environment={}).method == name


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        (
            "cream",
            "pairs.margin=1",
            r"method='cream' chooses pairs by its own rule: of `pairs` give judge_pairs and chosen_truncated alone",
        ),
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


def test_rows_say_which_answer_they_are_of() -> None:
    (row,) = rows([1.0], [2.0]).values()
    assert ResponseLogprobs.model_validate_json(row.model_dump_json()) == row
