"""Progress events: one Redis stream for each run. Any replica can serve it from any event on."""

import json
from collections.abc import AsyncIterator
from typing import Any

from selfreward.loop.record import ENDED, now
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
    await redis.xadd(_stream(run), {"data": json.dumps(event)}, maxlen=_KEPT, approximate=True)


async def follow(redis: RedisClient, run: str, after: str = "0", wait_ms: int = 5000) -> AsyncIterator[str]:
    """Events after id `after` as server-sent event text, until the run's last terminal one.

    A terminal event with later events, because the run was resumed, is sent without its `state`. Comment lines keep
    idle connections open.
    """
    while True:
        replies = await redis.xread({_stream(run): after}, count=500, block=wait_ms)
        entries = replies[0][1] if replies else []
        if not entries:
            yield ": waiting\n\n"
        for place, (entry_id, fields) in enumerate(entries):
            event: dict[str, Any] = json.loads(fields["data"])
            after = entry_id
            ended = event.get("state") in ENDED
            if ended and (place + 1 < len(entries) or await redis.xrange(_stream(run), f"({entry_id}", count=1)):
                del event["state"]
                ended = False
            yield f"id: {entry_id}\ndata: {json.dumps(event)}\n\n"
            if ended:
                return


def _stream(run: str) -> str:
    return f"selfreward:run:{run}:events"
