"""The recipe's `[watchdogs]`: at which figure a run raises an alarm, and what it then does by itself.

A share is from 0 to 1. What each figure is and where its default comes from: `docs/watchdogs.md`.
"""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from selfreward.contracts.base import Contract

Action = Literal["warn", "pause", "stop", "rollback"]


class Watchdog(Contract):
    """Alarm when a figure passes `threshold`.

    `warn` tells people and goes on. `pause` and `stop` end the run until `selfreward resume`. `rollback` also has the
    best model so far served again.
    """

    threshold: float = Field(ge=0)
    action: Action = "warn"


class Watchdogs(Contract):
    """All watchdogs of a run. An entry may give one of `threshold` and `action`; the other keeps its default."""

    one_score: Watchdog = Watchdog(threshold=0.9)
    """Above this share of the valid votes at one and the same score."""
    score_spread: Watchdog = Watchdog(threshold=0.1)
    """Below this standard deviation of the valid votes, in rubric points."""
    parse_failures: Watchdog = Watchdog(threshold=0.2)
    """Above this share of votes without a score."""
    ties: Watchdog = Watchdog(threshold=0.5)
    """Above this share of the prompts that gave no pair because all their answers have one score."""
    length_growth: Watchdog = Watchdog(threshold=2.0)
    """Above this many times the answer length of M1."""
    judge_drift: Watchdog = Watchdog(threshold=0.05)
    """Above this loss of pairwise accuracy on `data.eft_eval` since M1."""
    position_bias: Watchdog = Watchdog(threshold=0.25)
    """Above this distance from one half of the share of comparisons won by the text that was shown first."""

    @field_validator("*", mode="before")
    @classmethod
    def _rest_by_default(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        return {**cls.model_fields[str(info.field_name)].default.model_dump(), **given}

    @field_validator("one_score", "parse_failures", "ties", "judge_drift")
    @classmethod
    def _a_share(cls, given: Watchdog) -> Watchdog:
        if given.threshold > 1:
            raise ValueError(f"threshold = {given.threshold:g} is not a share: give a number from 0 to 1")
        return given

    @field_validator("position_bias")
    @classmethod
    def _less_than_half(cls, given: Watchdog) -> Watchdog:
        if given.threshold >= 0.5:
            raise ValueError(f"threshold = {given.threshold:g} can never be passed: give a number below 0.5")
        return given

    @field_validator("length_growth")
    @classmethod
    def _more_than_m1(cls, given: Watchdog) -> Watchdog:
        if given.threshold < 1:
            raise ValueError(f"threshold = {given.threshold:g} would fire at M1's own length: give 1 or more")
        return given

    @property
    def by_name(self) -> dict[str, Watchdog]:
        """Every entry under its name."""
        return {name: getattr(self, name) for name in type(self).model_fields}
