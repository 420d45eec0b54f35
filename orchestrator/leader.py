"""The leader: the replica that holds the lease advances the runs, one at a time, oldest first."""

import asyncio
import contextlib
import logging
import uuid

from redis.exceptions import RedisError

from orchestrator import metrics
from orchestrator.machine import advance, write_outcome
from orchestrator.runs.context import RunContext, Services
from orchestrator.runs.lease import Lease, acquire
from orchestrator.runs.state import load_all, stopped_runs
from selfreward.loop.record import RunState
from selfreward.redis.connection import connect
from selfreward.server.background import cancel_and_wait

_log = logging.getLogger(__name__)


class Leader:
    """Competes for the lease, and leads while it holds the lease."""

    def __init__(self, services: Services) -> None:
        self.services = services
        # Two replicas may share a worker name by mistake; a lease must still have one holder.
        self.holder = f"{services.settings.worker_name}-{uuid.uuid4().hex[:8]}"

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
        while True:
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
        for state in await load_all(self.services.redis):
            if state.run not in stopped and state.state != "done":
                unfinished.append(state)
            elif state.run in stopped and state.state in ("queued", "running"):
                context = RunContext(self.services, lease, state)
                await context.update(state="stopped", message="stopped on request", told=False)
                await write_outcome(context)
            elif not state.told:
                await write_outcome(RunContext(self.services, lease, state))
        return min(unfinished, key=lambda state: (state.state != "running", state.created_at), default=None)
