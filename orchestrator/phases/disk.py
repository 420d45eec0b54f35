"""A run waits for room on the disk before it writes, and begins a phase again that the disk ran full under."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.runs.context import RunContext, Services
from selfreward.server.disk import free_bytes, is_full, shortage

_TRY_AGAIN_S = 30.0


class NoRoom(RuntimeError):
    """The artifact store has too little room to take anything in; the message says where and what to do."""


def local_folders(services: Services) -> list[Path]:
    """The folder of the artifact store; none when it is elsewhere, where room cannot be looked up."""
    return [Path(services.store.root)] if services.store.local else []


def check_room(services: Services) -> None:
    """Raises NoRoom when less is free than `min_free_disk`."""
    problem = shortage(local_folders(services), services.settings.min_free_disk)
    if problem is not None:
        raise NoRoom(problem)


async def with_room(context: RunContext, work: Callable[[], Awaitable[None]], ahead: bool = True) -> None:
    """Do idempotent `work` when there is room; again, once room was made, if it found the disk full after all.

    Without `ahead` it is begun in any case: it writes next to nothing, or makes room itself. While the run waits it is
    shown as paused, with the reason. Raises RunStopped when it is stopped meanwhile.
    """
    while True:
        if ahead:
            await _room(context)
        try:
            await work()
        except OSError as error:
            if not is_full(error):
                raise
            await _change(context, f"disk: {error}; free some")
        else:
            await context.block("")
            return


async def _room(context: RunContext) -> None:
    services = context.services
    while problem := shortage(local_folders(services), services.settings.min_free_disk):
        if not context.state.blocked:
            await context.block(problem)
        await context.check()
        await asyncio.sleep(services.settings.poll_s)
    await context.block("")


async def _change(context: RunContext, problem: str) -> None:
    """Return when more is free than now. What was freed may not be visible here, so not later than in half a minute."""
    folders = local_folders(context.services)
    free, deadline = sum(map(free_bytes, folders)), time.monotonic() + _TRY_AGAIN_S
    await context.block(problem)
    while sum(map(free_bytes, folders)) <= free and time.monotonic() < deadline:
        await context.check()
        await asyncio.sleep(context.services.settings.poll_s)
