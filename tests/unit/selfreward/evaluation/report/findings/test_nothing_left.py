"""When a run says that it has nothing left to learn."""

from typing import Any

import pytest

from selfreward.evaluation.report.findings.nothing_left import is_plateau, nothing_left, share_at_highest


def _change(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 100}


UP, FLAT = _change(0.1, 0.05, 0.15), _change(0.005, -0.02, 0.03)
SPREAD = {"0": 10, "3": 40, "4.5": 30, "5": 20}


def _round(stage: str, pair_yield: float | None = 0.5, pairs: int = 50, **histogram: int) -> dict[str, Any]:
    return {
        "stage": stage,
        "pairs": pairs,
        "pair_yield": {"value": pair_yield, "low": pair_yield, "high": pair_yield, "n": 100},
        "score_histogram": histogram or SPREAD,
    }


def _since(a: str, b: str, judge: Any = FLAT, sampled: Any = FLAT, greedy: Any = FLAT, own: Any = FLAT) -> Any:
    figures = {"solve_rate": sampled, "solve_rate_greedy": greedy, "own_score": own}
    return {"a": a, "b": b, "judge_fixed_pairwise_accuracy": judge, **figures}


def _reasons(signs: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(sign["stage"], sign["reason"]) for sign in signs]


def test_a_round_whose_prompts_hardly_give_pairs_says_so_with_the_remedy() -> None:
    (sign,) = nothing_left([_round("M2"), _round("M3", 0.09)], ["M1"], [])
    assert (sign["stage"], sign["reason"], sign["value"], sign["threshold"]) == ("M3", "few_pairs", 0.09, 0.1)
    assert "sampling.temperature" in sign["remedy"]
    assert nothing_left([_round("M3", 0.1)], ["M1"], []) == []


def test_a_round_that_trains_on_rewards_has_no_pairs_to_miss() -> None:
    assert nothing_left([_round("M2", 0.0, pairs=0)], ["M1"], []) == []


def test_a_judge_that_gives_nearly_all_answers_its_top_score_says_so() -> None:
    signs = nothing_left([_round("M2", **{"4": 9, "5": 91}), _round("M3", **{"4": 10, "5": 90})], ["M1"], [])
    assert _reasons(signs) == [("M2", "top_scores")]
    assert signs[0]["value"] == pytest.approx(0.91)


@pytest.mark.parametrize(
    ("histogram", "share"), [(None, None), ({}, None), (SPREAD, 0.2), ({"9": 1, "10": 3}, 0.75), ({"4": 7}, 1.0)]
)
def test_the_highest_score_is_the_highest_that_occurs(histogram: dict[str, int] | None, share: float | None) -> None:
    assert share_at_highest(histogram) == share


@pytest.mark.parametrize(
    ("judge", "answers", "flat"),
    [
        (FLAT, [FLAT, FLAT], True),
        (FLAT, [FLAT, UP], False),
        (UP, [FLAT], False),
        (_change(-0.03, -0.05, -0.01), [FLAT], False),
        (_change(0.005, 0.001, 0.009), [FLAT], False),
        (None, [FLAT], False),
    ],
)
def test_a_plateau_is_a_judge_that_stands_still_while_no_answers_gain(judge: Any, answers: Any, flat: bool) -> None:
    assert is_plateau(judge, answers) is flat


def test_the_plateau_is_that_of_the_last_two_rounds() -> None:
    names = ["M0", "SFT", "M1", "M2", "M3", "M4"]
    changes = [_since("M4", "M3"), _since("M4", "M2"), _since("M4", "M1", UP, UP)]
    assert _reasons(nothing_left([], names, changes)) == [("M4", "judge_plateau")]
    assert nothing_left([], names, [_since("M4", "M2", sampled=UP)]) == []
    assert nothing_left([], ["M0", "M1", "M2"], []) == []


def test_without_a_checker_the_models_own_scores_show_the_gain() -> None:
    names = ["M1", "M2", "M3"]
    assert nothing_left([], names, [_since("M3", "M1", sampled=None, greedy=None, own=UP)]) == []
    assert _reasons(nothing_left([], names, [_since("M3", "M1", sampled=None, greedy=None)])) == [
        ("M3", "judge_plateau")
    ]
