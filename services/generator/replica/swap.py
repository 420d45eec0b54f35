"""Replaces the engine's weights while clients wait at the gate: drain, pause; reload, reset, label, resume, canary.

The gate counts a request from before it is sent until its answer has ended. So when it has drained, no request can run
on other weights than its ticket says. Every step is checked; after a failure the last good weights are loaded again.
"""

import logging
import time
from pathlib import Path
from typing import NamedTuple

from services.generator.checkpoints.canary import LISTED, difference
from services.generator.checkpoints.checkpoint import Checkpoint
from services.generator.engine.control import EngineAdmin
from services.generator.engine.process import EngineFailed
from services.generator.replica.gate import Gate
from services.generator.settings import GeneratorSettings

_log = logging.getLogger(__name__)
_ABORT_EVERY_SECONDS = 0.25


class SwapRefused(RuntimeError):
    """The new weights failed in the engine; the old ones serve again."""


class CanaryFailed(EngineFailed):
    """The engine's log-probabilities along the canary's answer are not those that the trainer published."""


class WeightsRefused(RuntimeError):
    """This replica will not serve the announced weights. The message says why and what to do."""


class EngineRestarting(EngineFailed):
    """No weights can be adopted before the lost engine is back. This says nothing about the wanted weights."""


class Refusal(NamedTuple):
    """Why the weights with this manifest digest are not served."""

    digest: str
    reason: str


async def exchange(admin: EngineAdmin, old: Checkpoint, new: Checkpoint, settings: GeneratorSettings) -> None:
    """Load `new` in the place of `old` into a quiet engine.

    Raises SwapRefused when `new` failed and `old` is in the engine again, EngineFailed when the engine must be
    restarted.
    """
    try:
        await load(admin, new, settings)
    except EngineFailed as failure:
        _log.error("swap failed, rolling back", extra={"policy": new.label, "reason": str(failure)})
        await admin.pause()
        await load(admin, old, settings)
        raise SwapRefused(f"{new.label}: {failure}; {old.label} serves on") from failure


def start_folder(settings: GeneratorSettings, checkpoint: Checkpoint) -> Path:
    """The folder that an engine starts on before it serves `checkpoint`.

    Several nodes start on the model of the settings, which all of them know; `begin` then loads the checkpoint.
    """
    return (settings.model if settings.engine_nodes > 1 and settings.model else checkpoint.folder).resolve()


async def begin(admin: EngineAdmin, started_on: Path, checkpoint: Checkpoint, settings: GeneratorSettings) -> None:
    """Prove a checkpoint in a new engine, and load it first if the engine started on another folder."""
    if checkpoint.folder.resolve() != started_on:
        await admin.pause()
        await load(admin, checkpoint, settings)
        return
    await admin.label(checkpoint.label)
    await check_canary(admin, checkpoint, settings.canary_tolerance)


async def quiesce(admin: EngineAdmin, gate: Gate, settings: GeneratorSettings) -> None:
    """Wait until nothing is in flight, then pause the engine. Requests that last longer than the wait are aborted.

    The gate must be closed. Raises EngineFailed when the requests do not end; no weights have been touched then.
    """
    if not await gate.drained(settings.swap_wait_seconds):
        _log.warning("requests last longer than the swap waits and are aborted", extra={"inflight": gate.inflight})
        gate.mark_aborted()
        deadline = time.monotonic() + settings.swap_abort_seconds
        # Repeated, because a request that the engine's server is still parsing cannot be aborted yet.
        await admin.abort_requests()
        while not await gate.drained(_ABORT_EVERY_SECONDS):
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"{gate.inflight} requests did not end {settings.swap_abort_seconds:g} s after abort"
                )
            await admin.abort_requests()
    await admin.pause()


async def load(admin: EngineAdmin, checkpoint: Checkpoint, settings: GeneratorSettings) -> None:
    """Read weights into the paused engine, resume it and prove them. Raises EngineFailed, which names the step."""
    await admin.reload(checkpoint.folder, settings.reload_seconds)
    await admin.reset_prefix_cache()
    await admin.label(checkpoint.label)
    await admin.resume()
    await check_canary(admin, checkpoint, settings.canary_tolerance)


async def check_canary(admin: EngineAdmin, checkpoint: Checkpoint, tolerance: float | None) -> None:
    """Raise CanaryFailed unless the engine's log-probabilities along the canary's answer are the published ones.

    They may differ by `tolerance` nats, by default by what the checkpoint says. A checkpoint without a canary is not
    checked.
    """
    canary = checkpoint.canary
    if canary is None or not canary.candidates:
        _log.warning("checkpoint has no canary: its weights are served unproven", extra={"policy": checkpoint.label})
        return
    found = await admin.likeliest(canary.messages, canary.token_ids, LISTED)
    allowed = canary.tolerance if tolerance is None else tolerance
    apart = difference(canary.candidates, found)
    _log.info("canary", extra={"policy": checkpoint.label, "difference": apart, "tolerance": allowed})
    if not apart <= allowed:
        raise CanaryFailed(
            f"canary log-probabilities are {apart:.3g} nats from those published, allowed are {allowed:.3g}: the "
            "weights in the engine are not the trainer's; publish again, or raise canary_tolerance "
            "(SELFREWARD_CANARY_TOLERANCE) if the engine quantises them"
        )
