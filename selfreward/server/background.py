"""Loops that run beside the API for as long as the process does, and how to end them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from selfreward.backoff import backoff

_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 10.0
_SETTLED_SECONDS = 60.0
_log = logging.getLogger(__name__)


async def restart_forever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` again whenever it ends, after a growing wait; errors are logged. Ends when it is cancelled."""
    waits = backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception:
            _log.exception("background loop ended; it starts again", extra={"loop": name})
        if time.monotonic() - began > _SETTLED_SECONDS:
            # A loop that ran for long failed for a new reason: its waits begin short again.
            waits = backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        await asyncio.sleep(next(waits))


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, again each second, until all of them have ended.

    Once is not enough: an error in a task's clean-up (a lost connection, say) swallows a cancellation, and a TaskGroup,
    which cancels once, would then wait forever. Cancelling this call leaves no task behind: CancelledError is raised
    when all have ended.
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
