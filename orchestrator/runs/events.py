"""Progress events: one Redis stream for each run. Any replica can serve it from any event on."""

import json

from selfreward.loop.record import now
from selfreward.redis.connection import RedisClient

_KEPT = 50_000


async def emit(
    redis: RedisClient,
    run: str,
    *,
    stage: str = "",
    phase: str = "",
    done: int = 0,
    total: int = 0,
    message: str = "",
    metrics: dict[str, float] | None = None,
    state: str | None = None,
) -> None:
    """Append an event. Only a terminal event has a `state`, one of `ENDED`."""
    event = {
        "run": run,
        "time": now(),
        "stage": stage,
        "phase": phase,
        "done": done,
        "total": total,
        "message": message,
        "metrics": metrics or {},
        **({"state": state} if state else {}),
    }
    # Old events may be trimmed, since the run's record has everything that matters.
    await redis.xadd(stream_of(run), {"data": json.dumps(event)}, maxlen=_KEPT, approximate=True)


def stream_of(run: str) -> str:
    """Redis key of a run's events."""
    return f"selfreward:run:{run}:events"
