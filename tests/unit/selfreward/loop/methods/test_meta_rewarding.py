"""Judge pairs of Meta-Rewarding, with the golden vector of the paper's notes."""

import random
from itertools import permutations
from typing import Literal

import numpy as np
import pytest
from scipy.optimize import minimize

from selfreward.contracts.base import Message
from selfreward.contracts.judging import Vote
from selfreward.contracts.rollouts import Match, Rollout
from selfreward.loop.methods import method_of
from selfreward.loop.methods.meta_rewarding import (
    MetaRules,
    battles,
    elo,
    figures,
    most_disputed_answer,
    position_weights,
    preferences,
)
from selfreward.loop.pairing import distinct_votes, judge_pair
from tests.support.factories import recipe, rollout

Outcome = Literal[-1, 0, 1]
GOLDEN: dict[tuple[int, int], Outcome] = {(0, 1): 1, (1, 0): 1, (0, 2): 1, (2, 0): -1, (1, 2): 1, (2, 1): 0}


def matches(outcomes: dict[tuple[int, int], Outcome]) -> list[Match]:
    return [Match(first=first, second=second, outcome=outcome) for (first, second), outcome in outcomes.items()]


def judged(
    outcomes: dict[tuple[int, int], Outcome], texts: tuple[str, ...] = ("v0", "v1", "v2"), name: str = "p0"
) -> Rollout:
    """One answer whose votes have these texts and the scores 0, 1, 2, ..., and what the meta-judge says of them."""
    row = rollout({"answer": [float(score) for score in range(len(texts))]}, name)
    (judgment,) = row.judgments
    votes = [vote.model_copy(update={"text": text}) for vote, text in zip(judgment.votes, texts, strict=True)]
    changed = judgment.model_copy(update={"votes": votes, "index": 3})
    return row.model_copy(update={"judgments": [changed], "matches": matches(outcomes)})


def test_golden_vector_of_the_paper() -> None:
    weights = position_weights(matches(GOLDEN))
    assert weights == pytest.approx((0.2, 0.8))
    won = battles(matches(GOLDEN), [0, 1, 2], weights)
    assert np.array(won) == pytest.approx(np.array([[0, 0.2, 1], [0.2, 0, 0.2], [0, 0, 0]]))
    assert elo(won, 0.1) == pytest.approx([0.652, 0.353, -1.005], abs=5e-4)
    ((kept,), counts) = preferences([judged(GOLDEN)], MetaRules(ridge=0.1), 10, 0)
    assert (kept.chosen.text, kept.rejected.text) == ("v0", "v2")
    assert counts == {"kept": 1, "equal": 0, "long": 0, "surplus": 0}


@pytest.mark.parametrize("ridge", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("size", [2, 11])
def test_ratings_are_the_maximum_that_scipy_finds(size: int, ridge: float) -> None:
    won = np.random.default_rng(size).integers(0, 3, (size, size)) * np.array(0.4)
    won[0] = 2.0  # one wins against all, and each diagonal entry says nothing
    won[:, 0] = 0.0

    def loss(ratings: np.ndarray) -> float:
        gaps = ratings[:, None] - ratings[None, :]
        return float((won * np.logaddexp(0, -gaps)).sum() + ridge * (ratings**2).sum())

    fitted = np.array(elo(won.tolist(), ridge))
    best = minimize(loss, np.zeros(size), method="BFGS", options={"gtol": 1e-7}).x
    assert fitted == pytest.approx(best - best.mean(), abs=2e-4)
    assert loss(fitted) <= loss(best - best.mean()) + 1e-9


def test_ratings_do_not_depend_on_the_order_of_the_judgments() -> None:
    won = battles(matches(GOLDEN), [0, 1, 2], (0.2, 0.8))
    ratings = elo(won, 0.1)
    for order in permutations(range(3)):
        reordered = [[won[m][k] for k in order] for m in order]
        assert elo(reordered, 0.1) == pytest.approx([ratings[place] for place in order], abs=2e-6)


def test_a_judgment_that_wins_everything_has_a_finite_rating_and_a_small_ridge_raises_it() -> None:
    won = [[0.0, 1.0], [0.0, 0.0]]
    strong, weak = elo(won, 0.1), elo(won, 0.001)
    assert 0 < strong[0] < weak[0] < 10
    assert sum(strong) == pytest.approx(0, abs=1e-5)


def test_the_pair_teaches_the_judge_and_names_the_answer_it_is_about() -> None:
    ((kept,), _) = preferences([judged(GOLDEN)], MetaRules(), 10, 0)
    pair = judge_pair(kept, [Message(role="user", content="filled")], "additive5@sha256:0123456789ab")
    assert (pair.kind, pair.prompt_id, pair.prompt[0].content) == ("judge", "p0.3", "filled")
    assert (pair.chosen[0].content, pair.votes_chosen, pair.votes_rejected) == ("v0", [0], [2])
    assert pair.margin == pytest.approx(1.657, abs=1e-3)


def test_no_verdict_or_an_even_one_prefers_none() -> None:
    unread: dict[tuple[int, int], Outcome] = dict.fromkeys(GOLDEN, 0)
    always_first: dict[tuple[int, int], Outcome] = dict.fromkeys(GOLDEN, 1)
    kept, counts = preferences([judged(unread), judged(always_first)], MetaRules(), 10, 0)
    assert (kept, counts["equal"]) == ([], 2)


def test_a_long_chosen_judgment_is_dropped_and_a_long_rejected_one_is_not() -> None:
    row = judged(GOLDEN, ("v" * 11, "v1", "v" * 30))
    assert preferences([row], MetaRules(max_chosen_length=10), 10, 0)[1]["long"] == 1
    assert preferences([row], MetaRules(max_chosen_length=11), 10, 0)[1]["kept"] == 1


def test_no_more_pairs_than_asked_for_and_the_same_ones_again() -> None:
    rows = [judged(GOLDEN, name=f"p{number}") for number in range(20)]
    rows = [row.model_copy(update={"key": f"k{number}"}) for number, row in enumerate(rows)]
    kept, counts = preferences(rows, MetaRules(), 5, 0)
    assert (counts["kept"], counts["surplus"]) == (5, 15)
    assert kept == preferences(rows, MetaRules(), 5, 0)[0]
    assert kept != preferences(rows, MetaRules(), 5, 1)[0]


def test_weights_may_be_of_each_prompt() -> None:
    first = judged({(0, 1): 1, (1, 0): 1, (0, 2): 1, (2, 0): 1, (1, 2): 1, (2, 1): 1})
    second = judged({(0, 1): -1, (1, 0): 1, (0, 2): -1, (2, 0): 0, (1, 2): -1, (2, 1): 0}, name="p1")
    assert position_weights([*first.matches, *second.matches]) == pytest.approx((0.3, 0.7))
    assert position_weights(second.matches) == pytest.approx((0.75, 0.25))
    for rules in (MetaRules(positions="prompt"), MetaRules(positions="round")):
        _, counts = preferences([first, second], rules, 10, 0)
        assert (counts["kept"], counts["equal"]) == (1, 1)
    own = preferences([second], MetaRules(positions="prompt"), 10, 0)[0][0].elo_chosen
    of_all = preferences([first, second], MetaRules(positions="round"), 10, 0)[0][0].elo_chosen
    assert own != of_all


def test_only_distinct_valid_judgments_are_compared() -> None:
    votes = [
        Vote(score=4, status="ok", text="same"),
        Vote(score=4, status="ok", text="same"),
        Vote(status="unparsed", text="unread"),
        Vote(score=3, status="ok", text="other"),
        Vote(score=3, status="ok", text=" "),
    ]
    assert distinct_votes(votes) == [0, 3]


def test_the_answer_whose_scores_differ_most_is_taken() -> None:
    row = rollout({"calm": [3, 3, 4], "wide": [1, 5, 3], "one text": [1, 5, 1], "unread": [None, None, None]})
    texts = {"one text": ["same"] * 3}
    judgments = [
        judgment.model_copy(
            update={
                "votes": [
                    vote.model_copy(update={"text": text})
                    for vote, text in zip(judgment.votes, texts.get(response.text, ["a", "b", "c"]), strict=True)
                ]
            }
        )
        for judgment, response in zip(row.judgments, row.responses, strict=True)
    ]
    row = row.model_copy(update={"judgments": judgments})
    assert most_disputed_answer(row, 0) == 1
    assert (
        most_disputed_answer(row.model_copy(update={"judgments": [judgments[2]], "responses": row.responses[2:3]}), 0)
        is None
    )
    same = row.model_copy(update={"judgments": [judgments[0]] * 4})
    assert {most_disputed_answer(same, seed) for seed in range(40)} == {0, 1, 2, 3}


def test_figures_of_the_meta_judge() -> None:
    # Scores are 0, 1 and 2. Decided: first wins 4 of 5; the higher score wins (1,0) only; (0,1) and (1,0) contradict.
    row = judged(GOLDEN)
    unread = row.matches[-1].model_copy(update={"status": "unparsed"})
    row = row.model_copy(update={"matches": [*row.matches[:-1], unread]})
    measured = figures([row])
    assert measured == pytest.approx(
        {"no_verdict": 1 / 6, "prefers_higher_score": 1 / 5, "first_wins": 4 / 5, "flips": 1 / 2}
    )
    assert set(figures([]).values()) == {None}


def test_ratings_maximise_the_likelihood() -> None:
    rng = random.Random(0)
    won = np.array([[0 if a == b else rng.random() for b in range(5)] for a in range(5)])
    fitted, ridge = np.array(elo(won.tolist(), 0.05)), 0.05

    def objective(ratings: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        gaps = ratings[:, None] - ratings[None, :]
        return float((won * np.log(1 / (1 + np.exp(-gaps)))).sum() - ridge * (ratings**2).sum())

    for place in range(5):
        for step in (-0.01, 0.01):
            moved = fitted.copy()
            moved[place] += step
            assert objective(moved) < objective(fitted)


def test_only_the_first_rounds_train_the_judge() -> None:
    run_recipe = recipe(method="meta_rewarding")
    phases_of = [method_of(run_recipe).phases(run_recipe, stage) for stage in ("M1", "M2", "M3", "M4")]
    assert ["meta" in phases for phases in phases_of] == [False, True, True, False]
    assert phases_of[1][:4] == ("prompts", "rollouts", "meta", "pairs")
