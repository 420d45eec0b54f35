"""The record of a run: what it is, which phases are behind it, which models it has made."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.loop.load import RunRecipe
from selfreward.recipe.watchdogs import Action

State = Literal["queued", "running", "done", "failed", "stopped", "paused", "rolled_back"]


ENDED = ("done", "failed", "stopped", "paused", "rolled_back")
"""States in which nothing happens until somebody resumes the run (`done`: ever)."""


class ModelRecord(Contract):
    """A model that the run has published: its stage name, public version, artifact and manifest digest.

    `removed`: its weights are no longer there, by the recipe's `[retention]`; its manifest is.
    """

    name: str
    policy_version: str
    artifact: str
    digest: str
    removed: bool = False


class Transition(Contract):
    """A finished phase; `seconds` from when it was begun to its end, a change of leader on the way included."""

    stage: str
    phase: str
    seconds: float = Field(ge=0)
    finished_at: str


class Alarm(Contract):
    """A watchdog's figure past its threshold, and what the recipe then wants. The same artifacts give the same one."""

    stage: str
    phase: str
    watchdog: str
    value: float
    threshold: float
    action: Action
    message: str

    @property
    def key(self) -> str:
        """What an acknowledgement names: this watchdog at this place of the run."""
        return f"{self.stage}/{self.phase}/{self.watchdog}"


class RunState(Contract):
    """A run. `journal` lists finished phases in order; what is not in it is still to be done.

    `blocked` says for what a running run waits, room on the disk for example; it goes on by itself. `alarms` are all
    that were raised so far; `halted_by` names (by `Alarm.key`) those that ended the run.
    """

    run: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,80}$")
    recipe: RunRecipe
    recipe_hash: str
    state: State = "queued"
    stage: str = ""
    phase: str = ""
    phase_started_at: str | None = None
    message: str = ""
    blocked: str = ""
    models: list[ModelRecord] = []
    journal: list[Transition] = []
    alarms: list[Alarm] = []
    halted_by: list[str] = []
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    told: bool = True
    """False from a run's end until `run.json` and the events say so too."""

    def finished(self, stage: str, phase: str) -> bool:
        """Whether a phase is behind the run."""
        return any(entry.stage == stage and entry.phase == phase for entry in self.journal)

    def seconds(self, stage: str) -> dict[str, float]:
        """Duration of each finished phase of a stage."""
        return {entry.phase: entry.seconds for entry in self.journal if entry.stage == stage}

    def model(self, name: str) -> ModelRecord | None:
        """The published model of a stage, if there is one."""
        return next((model for model in self.models if model.name == name), None)


def now() -> str:
    """RFC 3339 time in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since(moment: str) -> float:
    """Seconds from an RFC 3339 time until now; never below 0, though clocks of two replicas may differ."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
