"""The record of a run: its recipe, its finished phases and its models."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.loop.load import RunRecipe
from selfreward.recipe.watchdogs import Action

State = Literal["queued", "running", "done", "failed", "stopped", "paused", "rolled_back"]
ENDED = ("done", "failed", "stopped", "paused", "rolled_back")
"""States in which nothing happens until somebody resumes the run. A run that is `done` cannot be resumed."""


class ModelRecord(Contract):
    """A model that the run has published: its stage name, public version, artifact and manifest digest.

    `removed`: the recipe's `[retention]` has removed its weights; its manifest is kept. `update_kept`: the share of its
    training's update that the served weights keep, as the manifest has it; None where nothing was trained.
    """

    name: str
    policy_version: str
    artifact: str
    digest: str
    removed: bool = False
    update_kept: float | None = None


class Transition(Contract):
    """A finished phase. `seconds` from its start to its end, across changes of leader."""

    stage: str
    phase: str
    seconds: float = Field(ge=0)
    finished_at: str


class Alarm(Contract):
    """A watchdog's figure past its threshold, and the recipe's action. The same artifacts give the same alarm."""

    stage: str
    phase: str
    watchdog: str
    value: float
    threshold: float
    action: Action
    message: str

    @property
    def key(self) -> str:
        """Identity for acknowledgements: the watchdog, the stage and the phase."""
        return f"{self.stage}/{self.phase}/{self.watchdog}"


class RunState(Contract):
    """A run. `journal` lists the finished phases in order.

    `blocked` says what a running run waits for, for example disk space; the run goes on by itself. `alarms` are all
    alarms so far; `halted_by` has the keys (`Alarm.key`) of the alarms that ended the run.
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
    """False from a run's end until its outcome is written to `run.json` and to the events."""

    def finished(self, stage: str, phase: str) -> bool:
        """Whether the run has finished a phase."""
        return any(entry.stage == stage and entry.phase == phase for entry in self.journal)

    def seconds(self, stage: str) -> dict[str, float]:
        """Duration of each finished phase of a stage."""
        return {entry.phase: entry.seconds for entry in self.journal if entry.stage == stage}

    def model(self, name: str) -> ModelRecord | None:
        """The published model of a stage, or None."""
        return next((model for model in self.models if model.name == name), None)


def now() -> str:
    """RFC 3339 time in UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since(moment: str) -> float:
    """Seconds from an RFC 3339 time until now; at least 0, since the clocks of two replicas may differ."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
