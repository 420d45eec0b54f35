"""Worse than the base, and the kind of a gain, from the changes alone."""

from typing import Any

import pytest

from selfreward.evaluation.report.findings.changes import below_base, gains, kind_of_gain, steps

UP = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 100}
FLAT = {"value": 0.01, "low": -0.02, "high": 0.04, "n": 100}
DOWN = {"value": -0.1, "low": -0.15, "high": -0.05, "n": 100}
UNMEASURED = {"value": None, "low": None, "high": None, "n": 0}


def _change(a: str, b: str, sampled: Any, greedy: Any = FLAT, best_of_n: Any = FLAT) -> dict[str, Any]:
    return {"a": a, "b": b, "solve_rate": sampled, "solve_rate_greedy": greedy, "solve_rate_best_of_n": best_of_n}


@pytest.mark.parametrize(
    ("sampled", "greedy", "best_of_n", "kind"),
    [
        (UP, UP, UP, "better"),
        (FLAT, UP, UP, "better"),
        (UP, FLAT, FLAT, "sharper"),
        (UP, DOWN, FLAT, "sharper"),
        (UP, UP, FLAT, "unclear"),
        (UP, FLAT, UP, "unclear"),
        (DOWN, UP, UP, "unclear"),
        (FLAT, FLAT, FLAT, "unclear"),
        (DOWN, DOWN, DOWN, "unclear"),
        (UP, None, FLAT, "unclear"),
        (UP, UNMEASURED, FLAT, "unclear"),
    ],
)
def test_kinds_of_gain(sampled: Any, greedy: Any, best_of_n: Any, kind: str) -> None:
    assert kind_of_gain(sampled, greedy, best_of_n) == kind


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["M0", "SFT", "M1", "M2"], ["SFT-M0", "M1-SFT", "M2-M1", "M1-M0", "M2-M0"]),
        (["M0", "M1", "M2", "M3"], ["M1-M0", "M2-M1", "M3-M2", "M3-M1", "M3-M0"]),
        (["SFT", "M1", "M2"], ["M1-SFT", "M2-M1"]),
        (["M2", "M3"], ["M3-M2"]),
        (["M1"], []),
    ],
)
def test_a_reader_asks_for_each_step_and_for_the_whole_way(names: list[str], asked: list[str]) -> None:
    assert [f"{later}-{earlier}" for later, earlier in steps(names)] == asked


def test_gains_are_those_of_the_steps_and_none_without_a_checker() -> None:
    names = ["M0", "M1", "M2"]
    changes = [_change("M1", "M0", DOWN), _change("M2", "M0", UP, UP, UP), _change("M2", "M1", UP)]
    assert gains(changes, names) == [
        {"a": "M1", "b": "M0", "kind": "unclear"},
        {"a": "M2", "b": "M1", "kind": "sharper"},
        {"a": "M2", "b": "M0", "kind": "better"},
    ]
    assert gains([_change("M1", "M0", None, None, None)], ["M0", "M1"]) == []


def test_a_model_below_m0_raises_the_alarm_sampled_and_greedily_apart() -> None:
    changes = [_change("SFT", "M0", DOWN, DOWN), _change("M1", "M0", FLAT, DOWN), _change("M1", "SFT", DOWN)]
    raised = below_base(changes)
    assert raised is not None
    assert [(alarm["model"], alarm["figure"]) for alarm in raised] == [
        ("SFT", "solve_rate"),
        ("SFT", "solve_rate_greedy"),
        ("M1", "solve_rate_greedy"),
    ]
    assert raised[2]["change"] == DOWN


def test_without_m0_or_without_a_checker_nobody_knows_whether_a_model_is_worse() -> None:
    assert below_base([_change("M2", "M1", DOWN)]) is None
    assert below_base([_change("M1", "M0", None, None, None)]) is None
    assert below_base([_change("M1", "M0", FLAT)]) == []
