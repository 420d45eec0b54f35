"""Data of Constitutional AI: principles drawn, revisions kept, probabilities of preference and their clamping."""

from pathlib import Path
from typing import Literal

import pytest

from selfreward.contracts.rollouts import Match, Response
from selfreward.loop.constitution import Constitution, fill, read_constitution
from selfreward.loop.methods import method_of
from selfreward.loop.methods.constitutional import (
    ConstitutionRules,
    build_pairs,
    choices,
    clamp,
    revision_rows,
    revisions,
)
from selfreward.loop.pairing import pairs_to_compare, preference
from tests.support.factories import DATA, cut_off, recipe, rollout
from tests.support.places import RECIPES

GENERAL = RECIPES / "constitutions" / "general.toml"
TEXT = """
critique = "Find {principle} in {response} to {prompt}"
revision = "Mend {response} to {prompt} by {critique} for {principle}"
[[principles]]
critique = "harm"
revision = "peace"
choice = "kinder"
"""


def match(
    first: int,
    second: int,
    outcome: Literal[-1, 0, 1],
    p_first: float | None = None,
    status: Literal["ok", "unparsed"] = "ok",
) -> Match:
    return Match(first=first, second=second, outcome=outcome, p_first=p_first, status=status)


def test_both_orders_count_alike_whatever_the_judge_likes_to_see_first() -> None:
    # Shown first, a has 0.9; shown second, 1 - 0.7. The mean is 0.6 with one principle or with the first order twice.
    seen = [match(0, 1, 1, 0.9), match(1, 0, 1, 0.7)]
    assert preference(seen, 0, 1) == pytest.approx(0.6)
    assert preference([*seen, match(0, 1, 1, 0.9)], 0, 1) == pytest.approx(0.6)
    assert preference(seen, 1, 0) == pytest.approx(0.4)


def test_verdicts_count_where_the_engine_gives_no_probabilities() -> None:
    assert preference([match(0, 1, 1), match(1, 0, -1)], 0, 1) == 1
    assert preference([match(0, 1, 1), match(1, 0, 1)], 0, 1) == 0.5
    assert preference([match(0, 1, 0), match(1, 0, -1)], 0, 1) == 0.75


def test_an_order_without_a_verdict_leaves_the_pair_unscored() -> None:
    seen = [match(0, 1, 1, 0.9), match(1, 0, 0, None, "unparsed")]
    assert preference(seen, 0, 1) is None
    pairs, counts = build_pairs([rollout(["a", "b"], matches=seen)], ConstitutionRules())
    assert (pairs, counts["unscored"]) == ([], 1)


def test_golden_vector_of_soft_labels_and_their_clamping() -> None:
    """Two principles: a wins by 0.95 and 0.85 on average over both orders, so by 0.9; with CoT that is 0.6."""
    seen = [match(0, 1, 1, 0.98), match(1, 0, -1, 0.08), match(0, 1, 1, 0.9), match(1, 0, -1, 0.2)]
    row = rollout(["a", "b"], matches=seen)
    ((pair,), counts) = build_pairs([row], ConstitutionRules())
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("a", "b")
    assert (pair.score_chosen, pair.score_rejected, pair.weight) == pytest.approx((0.9, 0.1, 0.9))
    assert counts["kept"] == 1
    ((reasoned,), _) = build_pairs([row], ConstitutionRules(clamp=(0.4, 0.6)))
    assert (reasoned.score_chosen, reasoned.weight) == pytest.approx((0.9, 0.6))
    ((hard,), _) = build_pairs([row], ConstitutionRules(soft_labels=False))
    assert hard.weight is None
    assert [clamp(p, (0.4, 0.6)) for p in (0.0, 0.45, 1.0)] == [0.4, 0.45, 0.6]


def test_the_answer_shown_later_may_be_chosen_and_even_ones_give_no_pair() -> None:
    ((pair,), _) = build_pairs(
        [rollout(["a", "b"], matches=[match(0, 1, -1, 0.3), match(1, 0, 1, 0.9)])], ConstitutionRules()
    )
    assert pair.chosen[0].content == "b"
    assert pair.weight == pytest.approx(0.8)
    pairs, counts = build_pairs([rollout(["a", "b"], matches=[match(0, 1, 1), match(1, 0, 1)])], ConstitutionRules())
    assert (pairs, counts["tie"]) == ([], 1)


def test_only_different_answers_are_compared() -> None:
    texts = ["a", "a", " ", "b", "c"]
    assert pairs_to_compare([Response(text=text) for text in texts]) == [(0, 3), (0, 4), (3, 4)]
    pairs, counts = build_pairs([rollout(["a", "a"]), rollout(["", " "])], ConstitutionRules())
    assert (pairs, counts["tie"], counts["unscored"]) == ([], 1, 1)


def test_principles_are_drawn_by_seed_and_prompt() -> None:
    constitution = read_constitution(str(GENERAL))
    drawn = {name: revisions(constitution, 4, 0, name) for name in ("p0", "p1", "p2")}
    assert drawn["p0"] == revisions(constitution, 4, 0, "p0")
    assert len({tuple(turn.critique for turn in turns) for turns in drawn.values()}) == 3
    assert drawn["p0"] != revisions(constitution, 4, 1, "p0")
    assert all("{principle}" not in turn.critique + turn.revision for turns in drawn.values() for turn in turns)
    by = {tuple(choices(constitution.principles, 3, 0, f"p{n}")) for n in range(40)}
    assert len(by) > 20
    assert all(len(set(chosen)) == 3 for chosen in by)
    assert len(choices(constitution.principles, 64, 0, "p0")) == len(constitution.principles)


def test_the_critique_and_the_revision_are_of_the_same_principle() -> None:
    constitution = read_constitution(str(GENERAL))
    for turn in revisions(constitution, 16, 0, "p0"):
        principles = [p for p in constitution.principles if p.critique in turn.critique and p.revision in turn.revision]
        assert len(principles) == 1


def test_the_last_revision_is_trained_on_unless_it_was_cut_off_or_is_blank() -> None:
    good = rollout(["first", "critique", "better"])
    same = rollout(["first", "critique", "first"])
    blank = rollout(["first", "critique", " "])
    cut = good.model_copy(update={"responses": [*good.responses[:2], Response(text="bett", finish_reason="length")]})
    rows, counts = revision_rows([good, same, blank, cut])
    assert [row["completion"] for row in rows] == [
        [{"role": "assistant", "content": text}] for text in ("better", "first")
    ]
    assert counts == {"kept": 2, "blank": 1, "truncated": 1, "unchanged": 1}


def test_texts_are_put_in_once() -> None:
    assert fill("{response} {critique}", response="{critique}", critique="x") == "{critique} x"
    assert fill("{response} {other}", response="a") == "a {other}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{response} to {prompt}", "{prompt}"), "critique never uses {response}: write {response} where"),
        (("by {critique}", ""), "revision never uses {critique}"),
        (("Find", "Find {critique}"), "critique uses {critique}, which is not written yet"),
        (('choice = "kinder"', ""), "principles.0.choice"),
        (('choice = "kinder"', 'choice = "kinder"\nname = "x"'), "principles.0.name = 'x': unknown key"),
        (("[[principles]]", "[[principles"), "is not valid TOML"),
    ],
)
def test_mistakes_in_a_constitution_are_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "constitution.toml"
    path.write_text(TEXT)
    assert isinstance(read_constitution(str(path)), Constitution)
    path.write_text(TEXT.replace(*change, 1))
    with pytest.raises(ValueError, match=r"constitution\.toml") as caught:
        read_constitution(str(path))
    assert message in str(caught.value)


def test_a_missing_constitution_is_named_with_the_working_directory() -> None:
    with pytest.raises(ValueError, match=r"file none\.toml does not exist \(working directory"):
        read_constitution("none.toml")


def test_the_plan_has_a_baseline_that_revises_and_a_slice_of_prompts_for_it() -> None:
    run_recipe = recipe(method="constitutional", data=DATA | {"constitution": "c"}, loop={"use_eft": False})
    assert method_of(run_recipe).stages(run_recipe) == ["M0", "SFT", "M1", "M2", "M3"]
    assert method_of(run_recipe).phases(run_recipe, "M1")[:4] == ("prompts", "rollouts", "pairs", "train")
    assert method_of(run_recipe).phases(run_recipe, "M2")[:4] == ("prompts", "rollouts", "pairs", "watch_pairs")
    assert [method_of(run_recipe).slice_index(run_recipe, stage) for stage in ("M1", "M2", "M3")] == [0, 1, 2]
    assert method_of(run_recipe).slices(run_recipe) == 3
    assert method_of(run_recipe).parent(run_recipe, "M1") == "M0"


def test_a_preferred_answer_that_ended_at_the_token_limit_gives_no_pair() -> None:
    row = rollout(["a", "b"], matches=[match(0, 1, 1), match(1, 0, -1)])
    pairs, counts = build_pairs([cut_off(row, "a")], ConstitutionRules())
    assert (pairs, counts["truncated"]) == ([], 1)
    assert build_pairs([cut_off(row, "b")], ConstitutionRules())[1]["kept"] == 1
    assert build_pairs([cut_off(row, "a")], ConstitutionRules(), chosen_truncated=True)[1]["kept"] == 1
