"""Loops that run beside the API for as long as the process does, and how they are ended."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

_LEAST_BACKOFF = 0.5
_MOST_BACKOFF = 10.0
_SETTLED = 60.0
_log = logging.getLogger(__name__)


async def for_ever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Keep a background loop alive: whatever ends it is logged, and it starts again."""
    delay = _LEAST_BACKOFF
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception:
            _log.exception("background loop ended; it starts again", extra={"loop": name})
        if time.monotonic() - began > _SETTLED:
            # Long work is no part of the outage before it: the next one begins with a short wait again.
            delay = _LEAST_BACKOFF
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - guards no secret
        delay = min(delay * 2, _MOST_BACKOFF)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: an error in a clean-up (a lost connection, say) swallows one cancellation.

    A TaskGroup cancels once, so one swallowed cancellation would have it wait for ever. A cancellation of this call
    leaves no task behind either: it takes effect when they have ended.
    """
    pending, cancelled = set(tasks), False
    while pending:
        for task in pending:
            task.cancel()
        try:
            _, pending = await asyncio.wait(pending, timeout=1)
        except asyncio.CancelledError:
            cancelled = True
            pending = {task for task in pending if not task.done()}
    if cancelled:
        raise asyncio.CancelledError
