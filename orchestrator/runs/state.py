"""The record of a run in Redis, and the requests to stop or resume it.

Only the lease holder writes the record. Requests are in a key of their own, which any replica may write, so the two
never overwrite each other. Runs that the leader has something to do for are in an index of their own, so that those
that have ended cost nothing.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from orchestrator.runs.events import stream_of
from orchestrator.runs.lease import Lease
from selfreward.loop.record import ENDED, RunState
from selfreward.redis.connection import RedisClient

_INDEX = "selfreward:runs"
_OPEN = "selfreward:runs:open"
_STOPPED = "selfreward:runs:stopped"
_ACKNOWLEDGED = "selfreward:run:{}:acknowledged"

_CREATE = """
if redis.call('SETNX', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[3])
return 1
"""
# A run that is resumed meanwhile is no longer stopped, and stays open.
_CLOSE = """
if ARGV[2] == 'done' or redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
"""
_REMOVE = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('UNLINK', unpack(KEYS, 4))
return 1
"""
_RESUME = """
redis.call('SREM', KEYS[1], ARGV[1])
local created = redis.call('ZSCORE', KEYS[2], ARGV[1])
if created then redis.call('ZADD', KEYS[3], created, ARGV[1]) end
"""
_CHUNK = 50


def state_key(run: str) -> str:
    """Redis key of a run's record."""
    return f"selfreward:run:{run}"


async def create(redis: RedisClient, state: RunState) -> bool:
    """Store a new run. False if a run of that id exists."""
    created = datetime.fromisoformat(state.created_at).timestamp()
    arguments = (state.model_dump_json(), created, state.run)
    return bool(await redis.eval(_CREATE, 3, state_key(state.run), _INDEX, _OPEN, *arguments))


async def load(redis: RedisClient, run: str) -> RunState | None:
    """The record of a run, or None."""
    body = await redis.get(state_key(run))
    return RunState.model_validate_json(body) if body else None


async def load_all(redis: RedisClient) -> list[RunState]:
    """All runs, oldest first."""
    return [state async for state in _read(redis, await redis.zrange(_INDEX, 0, -1))]


async def load_open(redis: RedisClient) -> list[RunState]:
    """The runs that have not ended, or whose end has not been told, oldest first."""
    return [state async for state in _read(redis, await redis.zrange(_OPEN, 0, -1))]


async def load_page(redis: RedisClient, limit: int, after: str | None = None) -> tuple[list[RunState], str | None]:
    """Up to `limit` runs, newest first, from after the run `after`; and the last one's id if there are more.

    Raises LookupError where there is no run `after`.
    """
    rank = -1 if after is None else await redis.zrevrank(_INDEX, after)
    if rank is None:
        raise LookupError(after)
    names = await redis.zrevrange(_INDEX, rank + 1, rank + 1 + limit)
    states = [state async for state in _read(redis, names[:limit])]
    return states, names[limit - 1] if len(names) > limit else None


async def _read(redis: RedisClient, names: Sequence[str]) -> AsyncIterator[RunState]:
    # In small parts, between which other work of this process goes on.
    for start in range(0, len(names), _CHUNK):
        for body in await redis.mget([state_key(name) for name in names[start : start + _CHUNK]]):
            if body:
                yield RunState.model_validate_json(body)


async def open_all(redis: RedisClient) -> None:
    """Count all runs as open, until `close` is called for those that are not.

    A new leader does this once: replicas of version 0.2.0 and before know no index of open runs.
    """
    await redis.zunionstore(_OPEN, [_INDEX, _OPEN], aggregate="MIN")


async def close(redis: RedisClient, state: RunState) -> None:
    """Take a run whose end has been told out of the open ones, unless it has been resumed meanwhile."""
    await redis.eval(_CLOSE, 2, _OPEN, _STOPPED, state.run, state.state)


async def remove(redis: RedisClient, run: str) -> bool:
    """Delete the record and the events of a run that has ended; its artifacts stay. False for one that has not."""
    keys = (_OPEN, _INDEX, _STOPPED, state_key(run), stream_of(run), _ACKNOWLEDGED.format(run))
    return bool(await redis.eval(_REMOVE, len(keys), *keys, run))


async def remove_expired(redis: RedisClient, before: datetime, most: int = 500) -> list[str]:
    """Delete the records of up to `most` runs that ended before a moment; returns their ids."""
    created_before = await redis.zrangebyscore(_INDEX, "-inf", before.timestamp(), start=0, num=most)
    ended = [
        state.run
        async for state in _read(redis, created_before)
        if state.finished_at and datetime.fromisoformat(state.finished_at) < before
    ]
    return [run for run in ended if await remove(redis, run)]


async def save(lease: Lease, state: RunState) -> None:
    """Write a run's record. Raises LeaseLost when another replica has taken over."""
    await lease.write(state_key(state.run), state.model_dump_json())


async def ask_to_stop(redis: RedisClient, run: str) -> None:
    """Ask for a stop: workers drop the run's queued prompts, and the lease holder stops advancing the run."""
    await redis.sadd(_STOPPED, run)


async def ask_to_run(redis: RedisClient, run: str) -> None:
    """Withdraw a stop, or the stop that a failure caused."""
    await redis.eval(_RESUME, 3, _STOPPED, _INDEX, _OPEN, run)


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
