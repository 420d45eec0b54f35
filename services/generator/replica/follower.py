"""Follows the announced policy version: each replica polls, so one announcement reaches any number of replicas."""

import asyncio
import contextlib
import logging

from redis.exceptions import RedisError

from selfreward.backoff import backoff
from selfreward.redis.announcements import Announced, announced, current
from selfreward.redis.connection import RedisClient
from selfreward.store.manifest import InvalidArtifact
from services.generator import metrics
from services.generator.engine.process import EngineFailed
from services.generator.replica.replica import Replica
from services.generator.replica.swap import EngineRestarting, WeightsRefused

_MAX_SWAPS = 2
_MAX_ENGINES_LOST = 4
_LONGEST_WAIT_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Follower:
    """Polls the announcement and has the replica adopt each new version. A refused version is not tried again."""

    def __init__(self, redis: RedisClient, replica: Replica, poll_seconds: float) -> None:
        self.announced: Announced | None = None
        self.stopping = asyncio.Event()
        self._redis = redis
        self._replica = replica
        self._poll_seconds = poll_seconds
        self._handled: Announced | None = None
        self._engines_lost = 0

    async def run(self) -> None:
        """Run until `stopping` is set. A failure is logged, counted and tried again after a growing wait."""
        failures, waits = 0, backoff(2 * self._poll_seconds, _LONGEST_WAIT_SECONDS)
        while not self.stopping.is_set():
            wait = self._poll_seconds
            try:
                await self.step()
                failures, waits = 0, backoff(2 * self._poll_seconds, _LONGEST_WAIT_SECONDS)
            except Exception as error:
                failures, wait = failures + 1, next(waits)
                self._replica.not_started(str(error))
                metrics.FOLLOW_ERRORS.inc()
                _log.exception("following the announced weights failed", extra={"failures": failures})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), wait)

    async def step(self) -> None:
        """Read the announcement once, and adopt it if it is new. Raises what kept that from working."""
        try:
            self.announced = await current(self._redis)
        except RedisError:
            await self._start_on_model()
            raise
        if self.announced is None:
            await self._start_on_model()
        elif self.announced != self._handled:
            await self._follow(self.announced)

    async def _follow(self, newest: Announced) -> None:
        self._replica.target = newest.label
        try:
            # An engine that died twice in a swap may have died of the swap, or have been killed. A new engine that
            # starts on the weights tells which.
            await self._replica.adopt(newest, fresh=self._engines_lost >= _MAX_SWAPS)
        except WeightsRefused:
            if self._replica.serving is None:
                await self._start_on_older(newest.version)
        except EngineRestarting:
            raise
        except EngineFailed as error:
            self._engines_lost += 1
            if self._engines_lost < _MAX_ENGINES_LOST:
                raise
            # Weights that kill the engine each time would keep the service down for good.
            self._replica.refuse(newest, f"lost the engine {self._engines_lost} times, at last with: {error}")
        self._engines_lost = 0
        self._handled = newest

    async def _start_on_older(self, version: int) -> None:
        """Serve the newest good weights, for a replica that starts while the newest ones are bad."""
        for number in range(version - 1, -1, -1):
            try:
                await self._replica.adopt(await announced(self._redis, number))
            except WeightsRefused:
                continue
            return
        await self._start_on_model()

    async def _start_on_model(self) -> None:
        model = self._replica.settings.model
        if model is not None and self._replica.serving is None:
            try:
                await self._replica.start_unannounced(model)
            except InvalidArtifact as reason:
                raise EngineFailed(f"SELFREWARD_MODEL={model}: {reason}") from reason
