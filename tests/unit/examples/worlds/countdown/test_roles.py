"""Demonstrations of further roles of the demo's model: true, in its vocabulary, and as the judge service asks."""

from typing import Any

import pytest

from examples.worlds.countdown.checker import criteria, score, solved
from examples.worlds.countdown.reviews import review_prompt, verdict
from examples.worlds.countdown.roles import (
    CONSTITUTION,
    build_roles,
    comparisons,
    meta_verdicts,
    plain_reviews,
    revisions,
    step_comparisons,
)
from examples.worlds.countdown.seed_data import build
from examples.worlds.countdown.tokenizer import build_tokenizer
from selfreward.loop.constitution import fill
from selfreward.loop.methods.constitutional import revisions as method_revisions
from services.judge.reading.read import read
from services.judge.reading.sides import sides
from services.judge.rubrics.rubric import SHIPPED, Rubric, load_rubric

META = load_rubric(SHIPPED / "countdown_meta")
CHOICE = load_rubric(SHIPPED / "countdown_constitution")
STEPS = load_rubric(SHIPPED / "countdown_steps")

Files = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def built() -> list[Files]:
    """The files of seed 0, of seed 0 once more, and of seed 1."""
    return [build_roles(seed, 30) for seed in (0, 0, 1)]


@pytest.fixture(scope="module")
def ift() -> list[dict[str, Any]]:
    return build(0)["ift"]


def test_a_verdict_on_two_reviews_names_the_right_one_and_can_be_read() -> None:
    form = sides(META.spec.verdict_label, tie=True)
    verdicts = set()
    for row in meta_verdicts(0, 60):
        task, _, rest = row["prompt"].removeprefix("Which judge is right ? Task : ").partition(" Answer : ")
        answer, _, reviews = rest.partition(" Judge A : ")
        shown = dict(zip("ab", reviews.split(" Judge B : "), strict=True))
        winner = read(row["response"], "stop", form, None).value
        assert winner in shown
        assert shown[winner] == verdict(task, answer)
        assert shown["a"][-1] != shown["b"][-1], "of one score the model cannot tell which is right"
        values = {"prompt": task, "response": answer, "judgment_a": shown["a"], "judgment_b": shown["b"]}
        assert META.template.fill(values) == row["prompt"], "the judge service asks as the demonstration does"
        verdicts.add(winner)
    assert verdicts == {"a", "b"}


def test_plain_reviews_are_what_the_base_model_writes() -> None:
    rows = plain_reviews(0, 60)
    right = 0
    for row in rows:
        task, _, answer = row["prompt"].partition(" Task : ")[2].partition(" Answer : ")
        assert row["prompt"] == review_prompt(task, answer)
        right += row["response"] == verdict(task, answer)
    assert 0 < right < len(rows), "some are careless"


def test_a_comparison_names_the_answer_that_has_the_point() -> None:
    form = sides(CHOICE.spec.verdict_label, tie=False)
    verdicts = set()
    for row in comparisons(0, 60):
        point, _, rest = row["prompt"].removeprefix("Which is better on ").partition(" ? Task : ")
        task, _, answers = rest.partition(" Response A : ")
        shown = dict(zip("ab", answers.split(" Response B : "), strict=True))
        winner = read(row["response"], "stop", form, None).value
        assert winner is not None
        (other,) = set(shown) - {winner}
        assert criteria(task, shown[winner])[point]
        assert not criteria(task, shown[other])[point]
        values = {"prompt": task, "response_a": shown["a"], "response_b": shown["b"], "principle": point}
        assert CHOICE.template.fill(values) == row["prompt"], "the judge service asks as the demonstration does"
        verdicts.add((winner, point))
    assert {winner for winner, _ in verdicts} == {"a", "b"}
    assert {point for _, point in verdicts} == set(CHOICE.spec.principles)


def test_a_comparison_of_steps_names_the_one_that_is_worth_more_after_the_same_beginning() -> None:
    form = sides(STEPS.spec.verdict_label, tie=True)
    verdicts = set()
    for row in step_comparisons(0, 60):
        task, _, answers = row["prompt"].removeprefix("Which step is better ? Task : ").partition(" Response A : ")
        shown = dict(zip("ab", answers.split(" Response B : "), strict=True))
        winner = read(row["response"], "stop", form, None).value
        assert winner is not None
        (other,) = set(shown) - {winner}
        assert score(task, shown[winner].removesuffix(" ;")) > score(task, shown[other].removesuffix(" ;"))
        begun = all(text.endswith(" ;") for text in shown.values())
        firsts = {text.partition(" ; ")[0] for text in shown.values()}
        assert begun or len(firsts) == 1
        values = {"prompt": task, "response_a": shown["a"], "response_b": shown["b"]}
        assert STEPS.template.fill(values) == row["prompt"], "the judge service asks as the demonstration does"
        verdicts.add((winner, begun))
    assert verdicts == {("a", True), ("a", False), ("b", True), ("b", False)}


def test_a_revision_is_right_and_the_critique_is_what_the_base_model_has_read() -> None:
    for row in revisions(0, 30):
        task = row["prompt"].partition(" Task : ")[2].partition(" Answer : ")[0]
        assert solved(task, row["response"])
    drawn = method_revisions(CONSTITUTION, 1, 0, "p0")[0]
    assert fill(drawn.critique, prompt="Use 1 2 3 to make 6 .", response="1 + 2 = 3") == review_prompt(
        "Use 1 2 3 to make 6 .", "1 + 2 = 3"
    )


@pytest.mark.parametrize(("stem", "most"), [("ift_meta", META), ("ift_constitution", CHOICE), ("ift_steps", STEPS)])
def test_demonstrations_stand_after_the_ift_rows_in_words_that_the_model_knows(
    built: list[Files], ift: list[dict[str, Any]], stem: str, most: Rubric
) -> None:
    rows, again, other = (files[stem] for files in built)
    assert rows[: len(ift)] == ift
    assert rows == again
    assert rows[-30:] != other[-30:]
    tokenizer = build_tokenizer()
    for row in rows[-30:]:
        ids = tokenizer.encode(row["prompt"] + " " + row["response"])
        assert tokenizer.unk_token_id not in ids
        assert len(tokenizer.encode(row["response"])) < most.spec.sampling.max_tokens
