"""Hinted answers over unhinted ones: pairs, delta, tasks, jobs and the audit, with values computed by hand."""

from typing import Any

import pytest

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response, ResponseLogprobs, Rollout
from selfreward.loop.load import load_recipe
from selfreward.loop.methods.hinted import Hinted, HintedRules, build_pairs, delta, fill_template
from selfreward.loop.methods.plan import table
from selfreward.recipe.recipe import Recipe, RecipeError
from tests.support.factories import cut_off
from tests.support.places import RECIPES

POLICY = "runs/r/weights/M1"
METHOD = Hinted()


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPES / "hinted.toml", ["loop.iterations=2", *overrides], environment={})


def rollout(name: str, *texts: str, prompt: str = "question", policy: str = "policy@1") -> Rollout:
    return Rollout(
        key=name,
        run="r",
        stage="M2",
        prompt_id=name,
        prompt=[Message(role="user", content=prompt)],
        policy_version=policy,
        responses=[Response(text=text) for text in texts],
    )


def rows(**sums: tuple[float, float]) -> list[dict[str, Any]]:
    """Log-probabilities of two answers of each prompt; those of `p0h` are with the hint, at places 2 and 3."""
    listed = []
    for name, values in sums.items():
        prompt, first = (f"{name[:-1]}.hinted", 2) if name.endswith("h") else (name, 0)
        for index, value in enumerate(values, start=first):
            row = ResponseLogprobs(prompt_id=prompt, index=index, tokens=4, logprobs={POLICY: value})
            listed.append(row.model_dump(mode="json"))
    return listed


def inputs(**more: Any) -> dict[str, Any]:
    """A round of two prompts: p0 has a hint, p1 a blank one."""
    items = [{"prompt_id": f"p{n}", "prompt": [{"role": "user", "content": "question"}]} for n in range(2)]
    hints = [rollout("p0", " use {7} "), rollout("p1", "  ")]
    answers = [rollout("p0", "a", "b"), rollout("p1", "c", "d")]
    hinted = rollout("p0.hinted", "A", "b", "a", "b", prompt="question Step : use {7}")
    dumped: dict[str, list[Any]] = {"items": items, "hints": hints, "rollouts": answers, "hinted": [hinted]}
    dumped["hinted failures"] = []
    scores = {"logprobs": rows(p0=(-4.0, -8.0), p0h=(-12.0, -6.0), p1=(-1.0, -1.0))}
    return {**{name: [dump(row) for row in value] for name, value in dumped.items()}, **scores, **more}


def dump(row: Any) -> Any:
    return row.model_dump(mode="json") if isinstance(row, Rollout) else row


ROLLOUTS = [rollout("p0", "a", "b"), rollout("p1", "c", "d")]


def test_delta_is_per_token_and_above_0_where_the_hint_speaks_against_the_answer() -> None:
    by_place = {(row["prompt_id"], row["index"]): ResponseLogprobs.model_validate(row) for row in inputs()["logprobs"]}
    # -4 / 4 nats a token without the hint, -12 / 4 with it.
    assert delta(by_place, POLICY, "p0", 0, n=2) == pytest.approx(2.0)
    assert delta(by_place, POLICY, "p0", 1, n=2) == pytest.approx(-0.5)
    assert delta(by_place, POLICY, "p1", 0, n=2) is None, "the prompt has no hint"


def test_the_hinted_answer_is_chosen_as_an_answer_to_the_prompt_alone() -> None:
    (pair,), counts = METHOD.pairs(recipe(), ROLLOUTS, inputs())
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("A", "a")
    assert (pair.prompt[0].content, pair.prompt_id) == ("question", "p0")
    assert (pair.score_chosen, pair.score_rejected, pair.judge_version, pair.weight) == (1, 0, "", None)
    assert counts == {"kept": 1, "tie": 0, "unscored": 1, "below_margin": 0, "filtered": 0, "truncated": 0}
    assert METHOD.monitors(recipe(), ROLLOUTS, inputs()) == {"delta": pytest.approx(0.75)}
    assert METHOD.monitors(recipe(), ROLLOUTS, inputs(logprobs=[])) == {"delta": None}


@pytest.mark.parametrize(("least", "outcome"), [(2.0, "kept"), (2.1, "filtered")])
def test_pairs_whose_hint_says_too_little_are_dropped(least: float, outcome: str) -> None:
    pairs, counts = METHOD.pairs(recipe(f"hinted.min_delta={least}"), ROLLOUTS, inputs())
    assert (len(pairs), counts[outcome]) == (outcome == "kept", 1)
    unknown = inputs(logprobs=[])
    assert METHOD.pairs(recipe("hinted.min_delta=-9.0"), ROLLOUTS, unknown)[1]["filtered"] == 1


def test_answers_that_are_the_same_or_blank_prefer_nothing() -> None:
    same, blank = rollout("p0", "a", "a"), rollout("p0", " ", "")
    assert build_pairs([same], {"p0": same}, {}, HintedRules())[1]["tie"] == 1
    assert build_pairs([blank], {"p0": same}, {}, HintedRules())[1]["unscored"] == 1


def test_a_text_with_braces_of_its_own_is_shown_as_it_is() -> None:
    prompt = [Message(role="system", content="s"), Message(role="user", content="what is {hint}?")]
    from_template = fill_template("{prompt} Hint: {hint}", prompt, "{prompt}")
    assert [turn.content for turn in from_template] == ["s", "what is {hint}? Hint: {prompt}"]


def test_a_round_asks_for_hints_then_without_and_with_them_and_scores_both() -> None:
    run_recipe = recipe()
    phases = METHOD.phases(run_recipe, "M2")
    assert phases[:7] == ("prompts", "hints", "rollouts", "answer_with_hint", "score", "pairs", "train")
    hints = METHOD.tasks("r", run_recipe, "M2", "hints", "policy@1", inputs())
    assert hints[0].prompt[0].content == "question Give one step that helps ."
    assert hints[0].generate is not None
    assert (hints[0].generate.n, hints[0].generate.max_tokens, hints[0].judge) == (1, 16, None)
    plain = METHOD.tasks("r", run_recipe, "M2", "rollouts", "policy@1", inputs())
    assert [(task.prompt[0].content, task.judge, task.responses) for task in plain] == [("question", None, [])] * 2
    (given,) = METHOD.tasks("r", run_recipe, "M2", "answer_with_hint", "policy@1", inputs())
    assert (given.prompt_id, given.prompt[0].content) == ("p0.hinted", "question Step : use {7}")
    assert [response.text for response in given.responses] == ["a", "b"]
    assert len({task.seed for task in (*hints, *plain, given)}) == 5
    job = METHOD.score_job("r", run_recipe, "M2", given.prompt)
    assert (job.checkpoints, job.init_from) == ([POLICY], POLICY)
    assert job.datasets == ["runs/r/rollouts/M2.jsonl", "runs/r/data/hinted-M2.jsonl"]
    assert METHOD.results("r", "M2", "hints", [])[0] == "runs/r/data/hints-M2.jsonl"
    assert METHOD.results("r", "M2", "rollouts", [])[0] == job.datasets[0]
    assert METHOD.results("r", "M2", "answer_with_hint", [])[0] == job.datasets[1]
    assert METHOD.cost(run_recipe, "M2").answered == 1000 * (2 * 2 * 40 + 16)
    assert METHOD.cost(run_recipe, "M2").judged == 0
    assert METHOD.cost(run_recipe, "M1").answered == 0


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({}, None),
        ({"hinted": []}, "1 prompts missing: ['p0.hinted']"),
        ({"hinted": [rollout("p0.hinted", "A", "b", "a", "b", policy="policy@0")]}, "policy@1 was to answer"),
        (
            {"hinted": [rollout("p0.hinted", "A", "b", "a", "x", prompt="question Step : use {7}")]},
            "not the round's own",
        ),
        ({"hinted": [rollout("p0.hinted", "A", "a", "b", prompt="question Step : use {7}")]}, "not 4 answers"),
        ({"logprobs": rows(p9=(-1.0, -1.0))}, "not those of the rollouts"),
    ],
)
def test_the_auditor_finds_hinted_answers_that_are_not_the_rounds(harm: dict[str, Any], message: str | None) -> None:
    given = inputs(**{name: [dump(row) for row in value] for name, value in harm.items()})
    details = [one.detail for one in METHOD.violations("r", recipe(), "M2", ROLLOUTS, "policy@1", given)]
    assert details == [] if message is None else any(message in detail for detail in details), details


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hinted.shown='{prompt}'", r"shown='{prompt}' has not exactly the places {hint} and {prompt}"),
        ("hinted.request='help'", r"request='help' has not exactly the places {prompt}"),
        ("pairs.margin=1.0", "of `pairs` give judge_pairs and chosen_truncated alone"),
        ("loop.measure_consistency=true", r"loop\.measure_consistency is not for method='hinted'"),
        ("method=cream", "the section `hinted` is for method='hinted', not 'cream'"),
    ],
)
def test_what_the_method_would_not_read_is_refused(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe(override)


def test_its_table_counts_in_the_hash_of_its_own_recipes_alone() -> None:
    assert recipe().hash != recipe("hinted.min_delta=0.5").hash
    assert table(recipe(), HintedRules).min_delta is None


def test_a_hinted_answer_that_ended_at_the_token_limit_is_not_chosen() -> None:
    unhinted, hinted = rollout("p0", "a", "b"), rollout("p0", "A", "B")
    kept, counts = build_pairs([cut_off(unhinted, "b")], {"p0": cut_off(hinted, "A")}, {}, HintedRules())
    assert ([pair.chosen[0].content for pair in kept], counts["kept"]) == (["B"], 1)
    every = {"p0": cut_off(hinted, "A", "B")}
    pairs, counts = build_pairs([unhinted], every, {}, HintedRules())
    assert (pairs, counts["truncated"]) == ([], 1)
    assert len(build_pairs([unhinted], every, {}, HintedRules(), chosen_truncated=True)[0]) == 2
