"""Disk space: a run waits for it before it writes, and repeats a phase in which the disk ran full."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.runs.context import RunContext, Services
from selfreward.server.disk import free_bytes, is_full, shortage

_TRY_AGAIN_S = 30.0


class NoRoom(RuntimeError):
    """The artifact store has too little free space. The message says where, and what to do."""


def local_folders(services: Services) -> list[Path]:
    """The folder of a local artifact store. A remote store has none, since its free space is unknown."""
    return [Path(services.store.root)] if services.store.local else []


def check_room(services: Services) -> None:
    """Raises NoRoom if less than `min_free_disk` is free."""
    problem = shortage(local_folders(services), services.settings.min_free_disk)
    if problem is not None:
        raise NoRoom(problem)


async def with_room(context: RunContext, work: Callable[[], Awaitable[None]], ahead: bool = True) -> None:
    """Do idempotent `work` when there is disk space. If the disk runs full, repeat it once space has been freed.

    With `ahead=False` the work starts at once, because it writes almost nothing or frees space. A waiting run is shown
    as paused, with the reason. Raises RunStopped if it is stopped meanwhile.
    """
    while True:
        if ahead:
            await _wait_for_room(context)
        try:
            await work()
        except OSError as error:
            if not is_full(error):
                raise
            await _wait_for_change(context, f"disk: {error}; free some")
        else:
            await context.block("")
            return


async def _wait_for_room(context: RunContext) -> None:
    services = context.services
    while problem := shortage(local_folders(services), services.settings.min_free_disk):
        if not context.state.blocked:
            await context.block(problem)
        await context.check()
        await asyncio.sleep(services.settings.poll_s)
    await context.block("")


async def _wait_for_change(context: RunContext, problem: str) -> None:
    """Return when more is free than now, or after half a minute, since freed space may not be visible here."""
    folders = local_folders(context.services)
    free, deadline = sum(map(free_bytes, folders)), time.monotonic() + _TRY_AGAIN_S
    await context.block(problem)
    while sum(map(free_bytes, folders)) <= free and time.monotonic() < deadline:
        await context.check()
        await asyncio.sleep(context.services.settings.poll_s)
