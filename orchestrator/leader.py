"""The leader: the replica that holds the lease advances the runs, one at a time, oldest first."""

import asyncio
import contextlib
import logging
import time
import uuid
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from orchestrator import metrics
from orchestrator.machine import advance, write_outcome
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import Lease, acquire
from orchestrator.runs.state import close, load_open, open_all, remove_expired, stopped_runs
from selfreward.loop.record import RunState, now
from selfreward.redis.connection import connect
from selfreward.server.background import cancel_and_wait

_FORGET_EVERY_S = 3600.0
_log = logging.getLogger(__name__)


class Leader:
    """Competes for the lease, and leads while it holds the lease."""

    def __init__(self, services: Services) -> None:
        self.services = services
        # Two replicas may share a worker name by mistake; a lease must still have one holder.
        self.holder = f"{services.settings.worker_name}-{uuid.uuid4().hex[:8]}"
        self._forget_at = 0.0

    async def run(self) -> None:
        """Take the lease whenever it is free, and lead while it is held. Runs until cancelled."""
        seconds = self.services.settings.lease_s
        # A separate connection: the lease must not expire because the workers' commands are served first.
        async with connect(self.services.settings.redis_url) as redis:
            while True:
                lease = await acquire(redis, self.holder, seconds)
                if lease is None:
                    await asyncio.sleep(min(seconds / 3, 1.0))
                    continue
                _log.info("lease taken", extra={"token": lease.token})
                await self._lead(lease)

    async def _lead(self, lease: Lease) -> None:
        work = asyncio.create_task(self._advance_runs(lease))
        metrics.LEADER.set(1)
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=lease.seconds / 3)
                if not await lease.renew():
                    _log.warning("lease lost", extra={"token": lease.token})
                    break
            if work.done():
                work.result()
        finally:
            metrics.LEADER.set(0)
            metrics.BLOCKED.set(0)
            await cancel_and_wait([work])
            # Without Redis the lease cannot be released; it expires by itself.
            with contextlib.suppress(RedisError, TimeoutError):
                async with asyncio.timeout(2):
                    await lease.release()

    async def _advance_runs(self, lease: Lease) -> None:
        await open_all(self.services.redis)
        while True:
            await self._forget_old_runs(lease)
            state = await self._next(lease)
            if state is None:
                await asyncio.sleep(self.services.settings.poll_s)
            else:
                await advance(RunContext(self.services, lease, state))

    async def _next(self, lease: Lease) -> RunState | None:
        """The running run, else the oldest unfinished one.

        Also ends waiting runs that are to stop, and writes outcomes that a dead leader has not written.
        """
        stopped = await stopped_runs(self.services.redis)
        unfinished = []
        for state in await load_open(self.services.redis):
            if state.run not in stopped and state.state != "done":
                unfinished.append(state)
                continue
            context = RunContext(self.services, lease, state)
            if state.state in ("queued", "running"):
                await context.update(state="stopped", message="stopped on request", finished_at=now(), told=False)
            if not context.state.told:
                await write_outcome(context)
            await close(self.services.redis, context.state)
        return min(unfinished, key=lambda state: (state.state != "running", state.created_at), default=None)

    async def _forget_old_runs(self, lease: Lease) -> None:
        """Once an hour, delete the records of runs that ended long ago."""
        days = self.services.settings.keep_runs_days
        if not days or time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + _FORGET_EVERY_S
        lease.check_clock()
        removed = await remove_expired(self.services.redis, datetime.now(UTC) - timedelta(days=days))
        if removed:
            _log.info("records of old runs removed", extra={"runs": removed})
