"""Pairs by implicit rewards and their soft labels, with the golden vectors of CREAM."""

import random
from itertools import permutations

import pytest

from selfreward.contracts.rollouts import ResponseLogprobs
from selfreward.loop.methods.cream import CreamRules, build_pairs
from selfreward.loop.methods.implicit import (
    consistency,
    judge_agreement,
    kendall_tau,
    monitors,
    ranks,
    rows_by_place,
    scored_answers,
)
from selfreward.loop.stages import Scorers
from tests.support.factories import cut_off, judgment, rollout
from tests.support.implicit_rounds import BY, TOKENS, rows

NOW, BEFORE = [3.0, 1.0, 2.0, 5.0, 4.0], [3.0, 2.0, 1.0, 4.0, 5.0]
TEXTS = ["a", "b", "c", "d", "e"]


def test_golden_vector_of_consistency() -> None:
    tau = kendall_tau(NOW, BEFORE)
    assert tau == pytest.approx(0.6)
    assert consistency(tau) == pytest.approx(0.8)


def test_golden_vector_makes_a_pair_with_a_soft_label() -> None:
    pairs, counts = build_pairs([rollout(TEXTS)], rows(NOW, BEFORE), BY, CreamRules())
    (pair,) = pairs
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("d", "b")
    assert (pair.score_chosen, pair.score_rejected) == pytest.approx((5.0, 1.0))
    assert pair.weight == pytest.approx(0.8)
    assert (pair.rubric, pair.judge_version) == ("", "")
    assert counts["kept"] == 1
    assert monitors([rollout(TEXTS)], rows(NOW, BEFORE), BY) == pytest.approx({"consistency": 0.8, "kendall_tau": 0.6})


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_tau_is_one_for_the_same_ranking_minus_one_for_the_reverse_and_blind_to_scale(order: tuple[int, ...]) -> None:
    rewards = [float(value) for value in order]
    assert kendall_tau(rewards, [7 * value - 3 for value in rewards]) == 1
    assert kendall_tau(rewards, [-value for value in rewards]) == -1
    assert ranks(rewards) == [value + 1 for value in order]


def test_equal_rewards_rank_by_their_place() -> None:
    assert ranks([2.0, 1.0, 2.0, 1.0]) == [3, 1, 4, 2]


def test_rankings_of_other_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 3 rewards: give both of the same two or more answers"):
        kendall_tau([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="1 and 1 rewards"):
        kendall_tau([1.0], [1.0])


def test_the_label_is_the_rounds_mean_or_the_prompts_own() -> None:
    rollouts = [rollout(TEXTS, "p0"), rollout(TEXTS, "p1"), rollout(["a", "a"], "p2")]
    known = rows(NOW, BEFORE, "p0") | rows(NOW, [-value for value in NOW], "p1") | rows([1.0, 1.0], [1.0, 1.0], "p2")
    average, counts = build_pairs(rollouts, known, BY, CreamRules())
    assert [pair.weight for pair in average] == pytest.approx([0.4, 0.4])
    assert (counts["kept"], counts["tie"]) == (2, 1)
    dynamic, _ = build_pairs(rollouts, known, BY, CreamRules(soft_labels="dynamic"))
    assert {pair.prompt_id: pair.weight for pair in dynamic} == pytest.approx({"p0": 0.8, "p1": 0.0})


def test_a_prompt_without_rewards_shifts_no_other_prompts_consistency() -> None:
    """The paper's public code pairs keys and rates by position, so every prompt after a skipped one has another's."""
    rollouts = [rollout(TEXTS, name) for name in ("p0", "p1", "p2")]
    known = rows(NOW, BEFORE, "p0") | rows(NOW, [-value for value in NOW], "p2")
    pairs, counts = build_pairs(rollouts, known, BY, CreamRules(soft_labels="dynamic"))
    assert {pair.prompt_id: pair.weight for pair in pairs} == pytest.approx({"p0": 0.8, "p2": 0.0})
    assert counts["unscored"] == 1


def test_an_answer_without_rewards_is_no_candidate_and_shifts_no_other_answer() -> None:
    known = rows(NOW, BEFORE)
    del known["p0", 3]
    ((pair,), _) = build_pairs([rollout(TEXTS)], known, BY, CreamRules())
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("e", "b")
    assert pair.weight == pytest.approx(consistency(kendall_tau([3, 1, 2, 4], [3, 2, 1, 5])))


def test_rows_in_any_order_give_the_same_pairs() -> None:
    rollouts = [rollout(TEXTS, f"p{n}") for n in range(8)]
    rng = random.Random(3)
    listed = [
        row
        for n in range(8)
        for row in rows([rng.random() for _ in TEXTS], [rng.random() for _ in TEXTS], f"p{n}").values()
    ]
    expected = build_pairs(rollouts, rows_by_place(listed), BY, CreamRules(soft_labels="dynamic"))
    rng.shuffle(listed)
    assert build_pairs(rollouts, rows_by_place(listed), BY, CreamRules(soft_labels="dynamic")) == expected


@pytest.mark.parametrize("seed", range(50))
def test_both_models_rank_the_very_same_answers(seed: int) -> None:
    """A reward that names its place: whatever is left out, both rewards of an answer are those of its own place."""
    rng = random.Random(seed)
    texts = rng.choices(["a", "b", "c", " ", ""], k=rng.randrange(7))
    missing = {index for index in range(6) if rng.random() < 0.3}
    now = [100.0 + index for index in range(len(texts))]
    known = rows(now, [-value for value in now])
    for index in missing & set(range(len(texts))):
        del known["p0", index]
    scored = scored_answers(rollout(texts), known, BY)
    assert all(answer.now == pytest.approx(100 + answer.index) for answer in scored)
    assert all(answer.before == pytest.approx(-100 - answer.index) for answer in scored)
    assert all(texts[answer.index] == answer.text for answer in scored)
    assert len({answer.text for answer in scored}) == len(scored)


def test_blank_answers_are_never_trained_on() -> None:
    known = rows([9.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    ((pair,), _) = build_pairs([rollout([" ", "b", "c"])], known, BY, CreamRules())
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("c", "b")
    _, counts = build_pairs([rollout(["", "b"])], rows([1.0, 2.0], [1.0, 2.0]), BY, CreamRules())
    assert counts["unscored"] == 1


def test_the_first_round_ranks_by_the_initial_models_likelihood_of_each_token() -> None:
    by = Scorers("M1", "M0", "M0")
    known = {
        ("p0", index): ResponseLogprobs(
            prompt_id="p0", index=index, tokens=TOKENS * (index + 1), logprobs={"M1": -15.0, "M0": -20.0 - index}
        )
        for index in range(2)
    }
    first, second = scored_answers(rollout(["a", "b"]), known, by)
    assert (first.now, second.now) == (5.0, 6.0)
    assert (first.before, second.before) == (-2.0, -21 / 20)


def test_agreement_is_of_judged_pairs_that_neither_finds_even() -> None:
    votes: list[list[float | None]] = [[5.0], [5.0], [3.0], [None], [1.0]]
    shown = rollout(TEXTS).model_copy(update={"judgments": [judgment(v, n) for n, v in enumerate(votes)]})
    # Pairs with two scores: a-c, b-c, a-e, b-e, c-e; the rewards 3 1 2 5 4 order a-c alone as the scores do.
    assert judge_agreement([shown], rows(NOW, BEFORE), BY) == {"agreement": 0.2}


def test_two_rows_for_one_answer_are_refused() -> None:
    (row,) = rows([1.0], [1.0]).values()
    with pytest.raises(ValueError, match="answer 0 of prompt 'p0' has two rows"):
        rows_by_place([row, row])


def test_an_answer_that_ended_at_the_token_limit_is_rejected_and_not_chosen() -> None:
    first, *between, last = sorted(TEXTS, key=lambda text: NOW[TEXTS.index(text)])
    ((pair,), _) = build_pairs([cut_off(rollout(TEXTS), first, last)], rows(NOW, BEFORE), BY, CreamRules())
    assert (pair.chosen[0].content, pair.rejected[0].content) == (between[-1], first)
    every = cut_off(rollout(TEXTS), *TEXTS)
    pairs, counts = build_pairs([every], rows(NOW, BEFORE), BY, CreamRules())
    assert (pairs, counts["truncated"]) == ([], 1)
    assert build_pairs([every], rows(NOW, BEFORE), BY, CreamRules(), chosen_truncated=True)[1]["kept"] == 1
