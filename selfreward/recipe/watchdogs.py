"""The recipe's `[watchdogs]`: the thresholds of a run's alarms, and the action of each alarm.

A share is from 0 to 1. `docs/watchdogs.md` explains each figure and its default.
"""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from selfreward.contracts.base import Contract

Action = Literal["warn", "pause", "stop", "rollback"]


class Watchdog(Contract):
    """An alarm for a figure that passes `threshold`.

    `warn` reports the alarm and goes on. `pause` and `stop` end the run until `selfreward resume`. `rollback` also
    serves the best model so far again.
    """

    threshold: float = Field(ge=0)
    action: Action = "warn"


class Watchdogs(Contract):
    """All watchdogs of a run. An entry may set `threshold` or `action` alone; the other keeps its default."""

    one_score: Watchdog = Watchdog(threshold=0.9)
    """Above this share of the valid votes with the same score."""
    score_spread: Watchdog = Watchdog(threshold=0.1)
    """Below this standard deviation of the valid votes, in rubric points."""
    parse_failures: Watchdog = Watchdog(threshold=0.2)
    """Above this share of votes without a score."""
    ties: Watchdog = Watchdog(threshold=0.5)
    """Above this share of prompts without a pair because all their answers have the same score."""
    length_growth: Watchdog = Watchdog(threshold=2.0)
    """Above this many times the answer length of M1."""
    judge_drift: Watchdog = Watchdog(threshold=0.05)
    """Above this loss of pairwise accuracy on `data.eft_eval` since M1."""
    position_bias: Watchdog = Watchdog(threshold=0.25)
    """Above this distance from one half of the share of comparisons that the text shown first wins."""
    update_kept: Watchdog = Watchdog(threshold=0.9, action="stop")
    """Below this share of the training's update that the served weights keep."""

    @field_validator("*", mode="before")
    @classmethod
    def _complete_by_default(cls, entry: Any, info: ValidationInfo) -> Any:
        if not isinstance(entry, dict):
            return entry
        return {**cls.model_fields[str(info.field_name)].default.model_dump(), **entry}

    @field_validator("one_score", "parse_failures", "ties", "judge_drift", "update_kept")
    @classmethod
    def _a_share(cls, entry: Watchdog) -> Watchdog:
        if entry.threshold > 1:
            raise ValueError(f"threshold = {entry.threshold:g} is not a share: give a number from 0 to 1")
        return entry

    @field_validator("position_bias")
    @classmethod
    def _less_than_half(cls, entry: Watchdog) -> Watchdog:
        if entry.threshold >= 0.5:
            raise ValueError(f"threshold = {entry.threshold:g} can never be passed: give a number below 0.5")
        return entry

    @field_validator("length_growth")
    @classmethod
    def _more_than_m1(cls, entry: Watchdog) -> Watchdog:
        if entry.threshold < 1:
            raise ValueError(f"threshold = {entry.threshold:g} would fire at M1's own length: give 1 or more")
        return entry

    @property
    def by_name(self) -> dict[str, Watchdog]:
        """Every entry under its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}
