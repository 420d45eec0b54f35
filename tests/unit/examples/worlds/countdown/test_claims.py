"""The demo's claims are read off a report: each bar holds or fails on the right side of its value."""

from typing import Any

import pytest

from examples.worlds.countdown.claims import claims_of
from examples.worlds.countdown.evidence import summary_markdown

SOLVES = {"SFT": 0.28, "M1": 0.27, "M2": 0.36, "M3": 0.44}
JUDGES = {"SFT": 0.70, "M1": 0.92, "M2": 0.92, "M3": 0.91}


def figure(value: float, n: int = 1000) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": n}


def report(solves: dict[str, float], judges: dict[str, float], problems: int = 1000) -> dict[str, Any]:
    names = list(solves)
    return {
        "models": [
            {
                "name": name,
                "checker": {
                    "solve_rate": figure(solves[name], problems),
                    "solve_rate_greedy": figure(solves[name], problems),
                },
                "judge": {"pairwise_accuracy": figure(judges[name])},
                "mean_length": figure(30.0),
                "parse_failure_rate": figure(0.0),
            }
            for name in names
        ],
        "differences": [
            {
                "a": later,
                "b": earlier,
                "solve_rate": figure(solves[later] - solves[earlier]),
                "judge_pairwise_accuracy": figure(judges[later] - judges[earlier]),
            }
            for index, later in enumerate(names)
            for earlier in names[:index]
        ],
    }


def test_all_claims_hold_on_a_good_run() -> None:
    claims = claims_of(report(SOLVES, JUDGES))
    assert len(claims) == 6
    assert all(claim["holds"] for claim in claims.values())
    assert claims["M2 solves more than M1"]["measured"] == "+9.0 [+7.0, +11.0] points"


@pytest.mark.parametrize(
    ("solves", "judges", "problems", "failing"),
    [
        ({"M2": 0.26}, {}, 1000, "M2 solves more than M1"),
        ({"M3": 0.35}, {}, 1000, "M3 solves more than M2"),
        ({"M3": 0.365}, {}, 1000, "M3 - M1 is at least 10 points, its interval above 0"),
        ({}, {"M3": 0.899}, 1000, "the judge loses at most 2 points from M1 to M3"),
        ({}, {"M1": 0.79, "M3": 0.79}, 1000, "EFT makes the judge at least 10 points better"),
        ({}, {}, 999, "at least 1,000 held-out problems"),
    ],
)
def test_each_bar_can_fail(solves: dict[str, float], judges: dict[str, float], problems: int, failing: str) -> None:
    claims = claims_of(report(SOLVES | solves, JUDGES | judges, problems))
    assert not claims[failing]["holds"]


def test_a_report_without_a_model_is_an_error() -> None:
    with pytest.raises(KeyError, match="M3 - M2"):
        claims_of(report({name: SOLVES[name] for name in ("SFT", "M1", "M2")}, JUDGES))


def test_the_summary_shows_failures_and_models_that_judged_nothing() -> None:
    content = report(SOLVES | {"M2": 0.26}, JUDGES)
    content["models"][0]["judge"] = None
    content["models"][0]["parse_failure_rate"] = {"value": None, "low": None, "high": None, "n": 0}
    page = summary_markdown(
        {"command": "make evidence", "commit": "abc", "reports": {"0": content}, "claims": {"0": claims_of(content)}}
    )
    assert "| 0 | SFT | 28.0 [26.0, 30.0] | 28.0 [26.0, 30.0] | - | 30.0 | - |" in page
    assert "| M2 solves more than M1 | FAILS (-1.0 [-3.0, +1.0] points) |" in page
