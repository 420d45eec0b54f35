"""The record of a run in Redis: what it is, which phases are behind it, which models it has made.

The record is written by the lease holder only. People's wishes (`run` or `stop`) live in a key of their own, which any
replica may write, so the two never overwrite each other.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from orchestrator.runs.lease import Lease
from selfreward.contracts.judging import Contract
from selfreward.recipe.recipe import Recipe
from selfreward.recipe.watchdogs import Action
from selfreward.redis.connection import RedisClient

_INDEX = "selfreward:runs"
_STOPPED = "selfreward:runs:stopped"
_ACKNOWLEDGED = "selfreward:run:{}:acknowledged"

_CREATE = """
if redis.call('SETNX', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return 1
"""

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
    recipe: Recipe
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


def state_key(run: str) -> str:
    """Redis key of a run's record."""
    return f"selfreward:run:{run}"


async def create(redis: RedisClient, state: RunState) -> bool:
    """Store a new run; False when a run of that id exists."""
    created = datetime.fromisoformat(state.created_at).timestamp()
    arguments = (state.model_dump_json(), created, state.run)
    return bool(await redis.eval(_CREATE, 2, state_key(state.run), _INDEX, *arguments))


async def load(redis: RedisClient, run: str) -> RunState | None:
    """The record of a run, or None."""
    body = await redis.get(state_key(run))
    return RunState.model_validate_json(body) if body else None


async def load_all(redis: RedisClient) -> list[RunState]:
    """All runs, oldest first."""
    names = await redis.zrange(_INDEX, 0, -1)
    bodies = await redis.mget([state_key(name) for name in names]) if names else []
    return [RunState.model_validate_json(body) for body in bodies if body]


async def save(lease: Lease, state: RunState) -> None:
    """Write a run's record. Raises LeaseLost when another replica has taken over."""
    await lease.write(state_key(state.run), state.model_dump_json())


async def ask_to_stop(redis: RedisClient, run: str) -> None:
    """Workers drop the run's queued prompts; the lease holder stops advancing it."""
    await redis.sadd(_STOPPED, run)


async def ask_to_run(redis: RedisClient, run: str) -> None:
    """Take back a stop (or the stop that a failure set)."""
    await redis.srem(_STOPPED, run)


async def stopped_runs(redis: RedisClient) -> set[str]:
    """Runs that are not to be worked on."""
    return set(await redis.smembers(_STOPPED))


async def acknowledge(redis: RedisClient, run: str, alarms: Sequence[str]) -> None:
    """Somebody has seen these alarms (by `Alarm.key`) and wants the run to go on: they do not end it again."""
    if alarms:
        await redis.sadd(_ACKNOWLEDGED.format(run), *alarms)


async def acknowledged(redis: RedisClient, run: str) -> set[str]:
    """Keys of the alarms that do not end the run any more."""
    return set(await redis.smembers(_ACKNOWLEDGED.format(run)))


def public(state: RunState, stopped: set[str]) -> dict[str, Any]:
    """A run as the API shows it: the record, with `state` as it will be once the lease holder has looked."""
    shown: str = state.state
    if state.run in stopped and shown in ("queued", "running"):
        shown = "stopped" if shown == "queued" else "stopping"
    elif state.run not in stopped and shown in ENDED and shown != "done":
        shown = "queued"
    elif state.blocked and shown == "running":
        return {**state.model_dump(mode="json"), "state": "paused", "message": state.blocked}
    return {**state.model_dump(mode="json"), "state": shown}
