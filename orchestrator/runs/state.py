"""The record of a run in Redis, and the requests to stop or resume it.

Only the lease holder writes the record. Requests are in a key of their own, which any replica may write, so the two
never overwrite each other.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from orchestrator.runs.lease import Lease
from selfreward.loop.record import ENDED, RunState
from selfreward.redis.connection import RedisClient

_INDEX = "selfreward:runs"
_STOPPED = "selfreward:runs:stopped"
_ACKNOWLEDGED = "selfreward:run:{}:acknowledged"

_CREATE = """
if redis.call('SETNX', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
return 1
"""


def state_key(run: str) -> str:
    """Redis key of a run's record."""
    return f"selfreward:run:{run}"


async def create(redis: RedisClient, state: RunState) -> bool:
    """Store a new run. False if a run of that id exists."""
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
    """Ask for a stop: workers drop the run's queued prompts, and the lease holder stops advancing the run."""
    await redis.sadd(_STOPPED, run)


async def ask_to_run(redis: RedisClient, run: str) -> None:
    """Withdraw a stop, or the stop that a failure caused."""
    await redis.srem(_STOPPED, run)


async def stopped_runs(redis: RedisClient) -> set[str]:
    """Runs that are to stop or have been stopped."""
    return set(await redis.smembers(_STOPPED))


async def acknowledge(redis: RedisClient, run: str, alarms: Sequence[str]) -> None:
    """Acknowledge alarms (by `Alarm.key`), so that they do not end the run again."""
    if alarms:
        await redis.sadd(_ACKNOWLEDGED.format(run), *alarms)


async def acknowledged_alarms(redis: RedisClient, run: str) -> set[str]:
    """Keys of the acknowledged alarms, which do not end the run."""
    return set(await redis.smembers(_ACKNOWLEDGED.format(run)))


def public(state: RunState, stopped: set[str]) -> dict[str, Any]:
    """A run as the API shows it: the record, with the `state` that the lease holder will give it next."""
    public_state: str = state.state
    if state.run in stopped and public_state in ("queued", "running"):
        public_state = "stopped" if public_state == "queued" else "stopping"
    elif state.run not in stopped and public_state in ENDED and public_state != "done":
        public_state = "queued"
    elif state.blocked and public_state == "running":
        return {**state.model_dump(mode="json"), "state": "paused", "message": state.blocked}
    return {**state.model_dump(mode="json"), "state": public_state}
