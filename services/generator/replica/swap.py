"""Replaces the engine's weights while users wait at the gate: drain, pause; reload, reset, label, resume, canary.

The gate counts requests from before they are sent until their answer has ended, so once it has drained no request can
run on other weights than its ticket says. Every step is checked; what fails is taken back to the last good weights.
"""

import logging
import time
from pathlib import Path
from typing import NamedTuple

from services.generator.checkpoints.checkpoint import Checkpoint
from services.generator.engine.control import EngineAdmin
from services.generator.engine.process import EngineFailed
from services.generator.replica.gate import Gate
from services.generator.settings import GeneratorSettings

_log = logging.getLogger(__name__)
_ABORT_EVERY = 0.25


class SwapRefused(RuntimeError):
    """The new weights failed in the engine; the old ones serve again."""


class CanaryFailed(EngineFailed):
    """The engine answers the canary prompt differently from what the trainer published."""


async def exchange(admin: EngineAdmin, old: Checkpoint, new: Checkpoint, settings: GeneratorSettings) -> None:
    """Put `new` in the place of `old` in a quiet engine.

    Raises SwapRefused when `new` failed and `old` is back in the engine, EngineFailed when the engine itself is
    beyond repair and must be restarted.
    """
    try:
        await load(admin, new, settings)
    except EngineFailed as failure:
        _log.error("swap failed, rolling back", extra={"policy": new.label, "reason": str(failure)})
        await admin.pause()
        await load(admin, old, settings)
        raise SwapRefused(f"{new.label}: {failure}; {old.label} serves on") from failure


def start_folder(settings: GeneratorSettings, checkpoint: Checkpoint) -> Path:
    """What an engine starts on that shall serve a checkpoint: one of several nodes on what each of them knows."""
    return (settings.model if settings.engine_nodes > 1 and settings.model else checkpoint.folder).resolve()


async def begin(admin: EngineAdmin, started_on: Path, checkpoint: Checkpoint, settings: GeneratorSettings) -> None:
    """Prove a checkpoint in a new engine, and load it first where the engine started on another folder."""
    if checkpoint.folder.resolve() != started_on:
        await admin.pause()
        await load(admin, checkpoint, settings)
        return
    await admin.label(checkpoint.label)
    await check_canary(admin, checkpoint, settings.canary_tokens)


async def quiesce(admin: EngineAdmin, gate: Gate, settings: GeneratorSettings) -> None:
    """Return with nothing in flight and the engine paused. Requests that outlast the wait are aborted.

    The gate must be closed. EngineFailed when that cannot be had: no weights have been touched.
    """
    if not await gate.drained(settings.swap_wait_seconds):
        _log.warning("requests outlast the swap's wait and are aborted", extra={"inflight": gate.inflight})
        gate.mark_aborted()
        deadline = time.monotonic() + settings.swap_abort_seconds
        # Repeated, because a request that the engine's server is still parsing is not known to be aborted yet.
        await admin.abort_requests()
        while not await gate.drained(_ABORT_EVERY):
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"{gate.inflight} requests did not end {settings.swap_abort_seconds:g} s after abort"
                )
            await admin.abort_requests()
    await admin.pause()


async def load(admin: EngineAdmin, checkpoint: Checkpoint, settings: GeneratorSettings) -> None:
    """Read weights into the paused engine, resume and prove them. Raises EngineFailed naming the step that failed."""
    await admin.reload(checkpoint.folder, settings.reload_seconds)
    await admin.reset_prefix_cache()
    await admin.label(checkpoint.label)
    await admin.resume()
    await check_canary(admin, checkpoint, settings.canary_tokens)


async def check_canary(admin: EngineAdmin, checkpoint: Checkpoint, tokens: int | None) -> None:
    """Raise CanaryFailed unless the engine's greedy answer begins as published. Without a canary nothing is checked."""
    canary = checkpoint.canary
    if canary is None:
        _log.warning("checkpoint has no canary: its weights are served unproven", extra={"policy": checkpoint.label})
        return
    expected = canary.token_ids[:tokens]
    found = await admin.greedy(canary.messages, len(expected))
    if found != expected:
        raise CanaryFailed(
            f"canary answer begins {found}, published is {expected}: the weights in the engine are not the trainer's; "
            "check dtype and canary_tokens, or publish again"
        )


class WeightsRefused(RuntimeError):
    """Announced weights that this replica will not serve. The message says why and what to do."""


class EngineRestarting(EngineFailed):
    """Nothing can be adopted before the lost engine is back; the wanted weights are not to blame."""


class Refusal(NamedTuple):
    """Why the weights with this manifest digest are not served."""

    digest: str
    reason: str
