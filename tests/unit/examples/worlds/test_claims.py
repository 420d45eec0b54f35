"""What a run has to show is read off its report: each bar holds or fails on the right side of its value."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples.worlds.claims import claims_of
from examples.worlds.evidence import write_summary

SAMPLED = {"M0": 0.12, "SFT": 0.28, "M1": 0.27, "M2": 0.36, "M3": 0.44}
GREEDY = {"M0": 0.20, "SFT": 0.30, "M1": 0.35, "M2": 0.45, "M3": 0.50}
JUDGES = {"M0": 0.50, "SFT": 0.70, "M1": 0.92, "M2": 0.92, "M3": 0.91}
KEPT = {"M2": 0.99, "M3": 0.98}


def figure(value: float, n: int = 1000) -> dict[str, float]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": n}


def report(
    sampled: dict[str, float] | None = None,
    greedy: dict[str, float] | None = None,
    judges: dict[str, float] | None = None,
    kept: dict[str, float | None] | None = None,
    names: tuple[str, ...] = tuple(SAMPLED),
) -> dict[str, Any]:
    solves, greedily, right = SAMPLED | (sampled or {}), GREEDY | (greedy or {}), JUDGES | (judges or {})
    return {
        "models": [
            {
                "name": name,
                "update_kept": (KEPT | (kept or {})).get(name),
                "checker": {
                    "solve_rate": figure(solves[name]),
                    "solve_rate_greedy": figure(greedily[name]),
                    "solve_rate_best_of_n": figure(solves[name] + 0.1),
                },
                "judge": {"pairwise_accuracy": figure(right[name])},
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
                "solve_rate_greedy": figure(greedily[later] - greedily[earlier]),
                "judge_pairwise_accuracy": figure(right[later] - right[earlier]),
            }
            for index, later in enumerate(names)
            for earlier in names[:index]
        ],
        "iterations": [{"stage": stage} for stage in KEPT],
    }


def test_all_claims_hold_on_a_good_run() -> None:
    claims = claims_of(report())
    assert len(claims) == 11
    assert all(claim["holds"] for claim in claims.values())
    assert claims["M2 solves more than M1"]["measured"] == "+9.0 [+7.0, +11.0] points"


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({"sampled": {"M0": 0.28}}, "M1 solves more than M0"),
        ({"sampled": {"M2": 0.26}}, "M2 solves more than M1"),
        ({"sampled": {"M3": 0.35}}, "M3 solves more than M2"),
        ({"sampled": {"M3": 0.365}}, "M3 - M1 is at least 10 points"),
        ({"sampled": {"M3": 0.285}}, "the interval of M3 - M1 is above 0"),
        ({"sampled": {"M0": 0.43}}, "the interval of M3 - M0 is above 0"),
        ({"greedy": {"M3": 0.34}}, "M3 solves more than M1, greedily"),
        ({"greedy": {"M0": 0.51}}, "M3 solves more than M0, greedily"),
        ({"judges": {"M3": 0.899}}, "the judge loses at most 2 points from M1 to M3, on its own answers"),
        ({"judges": {"M1": 0.70, "M3": 0.70}}, "EFT makes the judge better"),
        ({"kept": {"M3": 0.9}}, "more than 90 % of each round's update is published"),
        ({"kept": {"M2": None}}, "more than 90 % of each round's update is published"),
    ],
)
def test_each_bar_can_fail(changed: dict[str, Any], failing: str) -> None:
    assert not claims_of(report(**changed))[failing]["holds"]


def test_a_run_without_eft_claims_nothing_of_it() -> None:
    assert not any("EFT" in text for text in claims_of(report(names=("M0", "M1", "M2", "M3"))))


def test_a_report_without_a_model_is_an_error() -> None:
    with pytest.raises(KeyError, match="M3 - M2"):
        claims_of(report(names=("M0", "SFT", "M1", "M2")))


def test_the_summary_has_every_seed_that_is_there_with_its_failures(tmp_path: Path) -> None:
    content = report(sampled={"M2": 0.26})
    content["models"][0]["judge"] = None
    content["models"][0]["parse_failure_rate"] = {"value": None, "low": None, "high": None, "n": 0}
    (tmp_path / "report-seed0.json").write_text(json.dumps(content))
    write_summary(tmp_path, "Countdown", {"0": {"command": "first", "commit": "abc", "minutes": 9.5}})
    (tmp_path / "report-seed1.json").write_text(json.dumps(report()))
    write_summary(tmp_path, "Countdown", {"1": {"command": "second", "commit": "def", "minutes": 8.0}})
    page = (tmp_path / "summary.md").read_text()
    assert "| 0 | M0 | 12.0 [10.0, 14.0] | 20.0 [18.0, 22.0] | 22.0 [20.0, 24.0] | - | 30.0 | - | 1000 |" in page
    assert "| M2 solves more than M1 | FAILS (-1.0 [-3.0, +1.0] points) | holds (+9.0 [+7.0, +11.0] points) |" in page
    assert "| 0 | `first` | `abc` | 9.5 |\n| 1 | `second` | `def` | 8.0 |" in page
