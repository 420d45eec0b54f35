"""The bound of a run's tokens counts everything that its method generates."""

from typing import Any

from selfreward.loop.methods import method_of
from tests.support.factories import DATA, recipe


def tokens_asked(values: dict[str, Any], eft_answers: int, eval_answers: int) -> int:
    asked = recipe(**values)
    return method_of(asked).tokens(asked, eft_answers, eval_answers)


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


def test_the_bound_of_tokens_counts_every_phase_that_generates() -> None:
    """Answers: 2 x 512. Judgment of one answer: 3 x 100. By hand, for one prompt and one held-out prompt."""
    values: dict[str, Any] = {
        "prompts": {"per_iteration": 1},
        "loop": {"iterations": 1},
        "sampling": {"n": 2, "max_tokens": 512},
        "judging": {"votes": 3, "max_tokens": 100},
        "eft": {"judgments": 5},
        "evaluation": {"prompts": 1, "samples": 4, "judged_prompts": 1},
    }
    rounds = 2 * 512 + 2 * 300
    base, model = 5 * 512, 5 * 512 + 4 * 300 + 6 * 300
    evaluations = base + 3 * model
    assert tokens_asked(values, 7, 6) == rounds + evaluations + 7 * 5 * 100
    taught = values | {"method": "dno"}
    assert tokens_asked(taught, 7, 6) == rounds + 300 + evaluations + 7 * 5 * 100
    meta = values | {"method": "meta_rewarding", "meta": {"max_tokens": 70}}
    assert tokens_asked(meta, 7, 6) == rounds + 3 * 2 * 70 + evaluations + 7 * 5 * 100
    unjudged = values | {"method": "spin", "loop": {"iterations": 1, "use_eft": False}}
    assert tokens_asked(unjudged, 7, 6) == 2 * 512 + base + 2 * model
    ruled = {"method": "constitutional", "loop": {"iterations": 1, "use_eft": False}}
    ruled |= {"data": DATA | {"constitution": "c"}, "constitution": {"revisions": 3, "max_tokens": 70}}
    by_principle = 2 * 512 + (1 + 2 * 3) * 512 + 2 * 70
    assert tokens_asked(values | ruled, 0, 6) == by_principle + evaluations
    written = values | {"prompts": {"source": "self_instruct", "self_instruct": {"max_requests": 10, "max_tokens": 20}}}
    assert tokens_asked(written | {"loop": {"iterations": 0}}, 7, 6) == base + 2 * model + 7 * 5 * 100
