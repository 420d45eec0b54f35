"""Watches the engine while it serves: whether it lives, and whether its memory still holds the published weights."""

import asyncio
import logging
import time

from services.generator.engine.process import EngineFailed
from services.generator.replica.replica import Replica
from services.generator.replica.swap import CanaryFailed, check_canary

_SECONDS = 1.0
_log = logging.getLogger(__name__)


async def watch(replica: Replica) -> None:
    """Ask for the engine's condition until cancelled, so that a loss is noticed without a request.

    Every `canary_seconds` the weights are proven anew.
    """
    every, proven = replica.settings.canary_seconds, time.monotonic()
    while True:
        if replica.gate.reason is None:
            await replica.condition.result()
            if every and time.monotonic() - proven >= every:
                await prove(replica)
                proven = time.monotonic()
        await asyncio.sleep(_SECONDS)


async def prove(replica: Replica) -> None:
    """Repeat the canary; an engine that fails it twice in a row is lost. One that is late is not."""
    async with replica.moving:
        for last in (False, True):
            if replica.serving is None or replica.gate.reason is not None:
                return
            try:
                await check_canary(replica.admin(), replica.serving, replica.settings.canary_tolerance)
            except CanaryFailed as error:
                _log.error("the canary failed while its weights were served", extra={"reason": str(error)})
                if last:
                    replica.lose("the engine no longer computes with the published weights")
            except EngineFailed as error:
                _log.warning("the canary could not be repeated", extra={"reason": str(error)})
                return
            else:
                return
