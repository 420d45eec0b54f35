"""What a run has to show, checked against its report. Each claim holds or fails, with a measurement."""

from collections.abc import Mapping
from typing import Any

Report = dict[str, Any]
Claim = dict[str, Any]
"""`{holds, measured}`: whether the claim holds, and the measurement as text."""

LEAST_GAIN = 0.10
MOST_JUDGE_LOSS = 0.02
LEAST_KEPT = 0.9


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
    """Claims by their text, about M0 to M3.

    The judge's on-policy figures are measured on each model's own answers, so a difference is between two judges on
    two sets of answers to the same problems. Raises KeyError when the report lacks a model or a figure.
    """
    sampled = {
        (a, b): difference(report, a, b, "solve_rate")
        for a, b in (("M1", "M0"), ("M2", "M1"), ("M3", "M2"), ("M3", "M0"), ("M3", "M1"))
    }
    greedy = {b: difference(report, "M3", b, "solve_rate_greedy") for b in ("M1", "M0")}
    judge = difference(report, "M3", "M1", "judge_pairwise_accuracy")
    claims = {}
    for later, earlier in (("M1", "M0"), ("M2", "M1"), ("M3", "M2")):
        gain = sampled[later, earlier]
        claims[f"{later} solves more than {earlier}"] = _claim(gain["value"] > 0, in_points(gain))
    gain = sampled["M3", "M1"]
    claims[f"M3 - M1 is at least {100 * LEAST_GAIN:.0f} points"] = _claim(gain["value"] >= LEAST_GAIN, in_points(gain))
    for earlier in ("M0", "M1"):
        gain = sampled["M3", earlier]
        claims[f"the interval of M3 - {earlier} is above 0"] = _claim(gain["low"] > 0, in_points(gain))
    for earlier, gain in greedy.items():
        claims[f"M3 solves more than {earlier}, greedily"] = _claim(gain["value"] > 0, in_points(gain))
    claims[f"the judge loses at most {100 * MOST_JUDGE_LOSS:.0f} points from M1 to M3, on its own answers"] = _claim(
        judge["value"] >= -MOST_JUDGE_LOSS, in_points(judge)
    )
    rounds = {entry["stage"] for entry in report["iterations"]}
    kept = {model["name"]: model.get("update_kept") for model in report["models"] if model["name"] in rounds}
    claims[f"more than {100 * LEAST_KEPT:.0f} % of each round's update is published"] = _claim(
        bool(kept) and all(share is not None and share > LEAST_KEPT for share in kept.values()),
        ", ".join(f"{stage} {'-' if share is None else f'{share:.1%}'}" for stage, share in kept.items()),
    )
    if any(model["name"] == "SFT" for model in report["models"]):
        eft = difference(report, "M1", "SFT", "judge_pairwise_accuracy")
        claims["EFT makes the judge better"] = _claim(eft["value"] > 0, in_points(eft))
    return claims


def _claim(holds: bool, measured: str) -> Claim:
    return {"holds": holds, "measured": measured}
