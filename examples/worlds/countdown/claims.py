"""The demo's claims about the method, checked against a report. Each holds or fails, with a measurement."""

from collections.abc import Mapping
from typing import Any

Report = dict[str, Any]
Claim = dict[str, Any]
"""`{holds, measured}`: whether the claim holds, and the measurement as text."""


def difference(report: Report, later: str, earlier: str, figure: str) -> dict[str, float]:
    """`{value, low, high}` of the later model minus the earlier one. Raises KeyError if the report lacks one."""
    for entry in report["differences"]:
        if (entry["a"], entry["b"]) == (later, earlier):
            return dict(entry[figure])
    raise KeyError(f"the report has no difference {later} - {earlier}")


def in_points(difference: Mapping[str, Any]) -> str:
    """A difference of shares, in points with its interval."""
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}] points"


def claims_of(report: Report) -> dict[str, Claim]:
    """Claims by their text.

    The judge's on-policy figures are measured on each model's own answers, so a difference is between two judges on
    two sets of answers to the same problems. Raises KeyError when the report lacks a model.
    """
    second = difference(report, "M2", "M1", "solve_rate")
    third = difference(report, "M3", "M2", "solve_rate")
    both = difference(report, "M3", "M1", "solve_rate")
    judge = difference(report, "M3", "M1", "judge_pairwise_accuracy")
    eft = difference(report, "M1", "SFT", "judge_pairwise_accuracy")
    problems = report["models"][-1]["checker"]["solve_rate"]["n"]
    return {
        "at least 1,000 held-out problems": {"holds": problems >= 1000, "measured": f"{problems}"},
        "M2 solves more than M1": {"holds": second["value"] > 0, "measured": in_points(second)},
        "M3 solves more than M2": {"holds": third["value"] > 0, "measured": in_points(third)},
        "M3 - M1 is at least 10 points, its interval above 0": {
            "holds": both["value"] >= 0.10 and both["low"] > 0,
            "measured": in_points(both),
        },
        "the judge loses at most 2 points from M1 to M3": {
            "holds": judge["value"] >= -0.02,
            "measured": in_points(judge),
        },
        "EFT makes the judge at least 10 points better": {"holds": eft["value"] >= 0.10, "measured": in_points(eft)},
    }
