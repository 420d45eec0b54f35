"""One replica: its engine, the weights that it serves, and the changes of both, one at a time."""

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import httpx

from selfreward.backoff import backoff
from selfreward.redis.announcements import Announced
from selfreward.server.health import Probe
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, InvalidArtifact
from services.generator import metrics
from services.generator.checkpoints.checkpoint import Checkpoint, Facts, check_again, read_facts, validate
from services.generator.engine.control import EngineAdmin
from services.generator.engine.process import EngineFailed, EngineProcess, Health
from services.generator.replica.gate import Gate, Ticket
from services.generator.replica.swap import (
    EngineRestarting,
    Refusal,
    SwapRefused,
    WeightsRefused,
    begin,
    exchange,
    quiesce,
    start_folder,
)
from services.generator.settings import GeneratorSettings

UNANNOUNCED = "policy@none"
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 2.0, 30.0
_log = logging.getLogger(__name__)


class Replica:
    """Owns the engine. `serving` is the last good checkpoint, `target` the label that was asked for last.

    `http` is a `control_client`. `refused` has the reason for each label that is not served. `condition` asks what is
    wrong with the engine. `moving` is held while weights or engine change.
    """

    def __init__(self, settings: GeneratorSettings, store: ArtifactStore, gate: Gate, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.gate = gate
        self.state: Literal["waiting", "starting", "serving", "swapping", "restarting"] = "waiting"
        self.serving: Checkpoint | None = None
        self.target: str | None = None
        self.refused: dict[str, Refusal] = {}
        self.engine: EngineProcess | None = None
        self.max_model_len = 0
        self.swaps = 0
        self.last_swap: dict[str, float] = {}
        self._store = store
        self.http = http
        self._facts: Facts | None = None
        self.moving = asyncio.Lock()
        self.lost = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()
        self.condition = Probe(self._ask_condition)

    def admin(self) -> EngineAdmin:
        """Control calls to the current engine. Raises EngineFailed when there is none."""
        if self.engine is None:
            raise EngineFailed("no engine has been started yet")
        return EngineAdmin(self.http, self.engine.url, self.settings.engine_admin_seconds)

    async def start_unannounced(self, folder: Path) -> None:
        """Serve a plain checkpoint folder until something is announced. Raises InvalidArtifact or EngineFailed."""
        async with self.moving:
            facts = await asyncio.to_thread(read_facts, folder)
            checkpoint = Checkpoint(folder=folder, label=UNANNOUNCED)
            if (folder / MANIFEST_NAME).exists():
                checkpoint, facts = await asyncio.to_thread(validate, folder, UNANNOUNCED, None)
            await self._start(checkpoint, facts)

    async def adopt(self, announced: Announced, fresh: bool = False) -> None:
        """Serve an announced version: start the engine on it, swap it in, or have a `fresh` engine take over.

        Raises WeightsRefused when it cannot be served, EngineFailed when the engine was lost meanwhile (and restarts on
        the last good weights), and the store's errors when the weights could not be fetched.
        """
        label = announced.label
        async with self.moving:
            self.refused.pop(label, None)
            if self.serving and (self.serving.label, self.serving.digest) == (label, announced.digest):
                return
            try:
                folder = await asyncio.to_thread(self._store.fetch, announced.artifact)
                new, facts = await asyncio.to_thread(validate, folder, label, self._facts, announced.digest)
                new = replace(new, version=announced.version, artifact=announced.artifact)
                if self.serving is None:
                    await self._start(new, facts)
                else:
                    await (self._restart_on(new, facts) if fresh else self._swap(new))
            except (ValueError, SwapRefused) as reason:
                raise self.refuse(announced, str(reason)) from reason

    def not_started(self, reason: str) -> None:
        """Keep the gate closed with the reason why nothing is served yet."""
        if self.serving is None:
            self.state = "waiting"
            self.gate.close(f"nothing could be served yet: {reason}")

    def refuse(self, announced: Announced, reason: str) -> WeightsRefused:
        """Note and log why a version is not served; returns the error to raise."""
        self.refused[announced.label] = Refusal(announced.digest, reason)
        metrics.REFUSED.inc()
        _log.error("weights refused", extra={"policy": announced.label, "reason": reason})
        return WeightsRefused(f"{announced.label} refused: {reason}")

    async def _swap(self, new: Checkpoint) -> None:
        """Replace the weights in the running engine. Raises SwapRefused or EngineFailed."""
        engine, old = self._running_engine(), self.serving
        if old is None:
            raise RuntimeError("the running engine has never served")
        # Wait until nothing is in flight.
        self.state = "swapping"
        self.gate.close(f"swapping {old.label} for {new.label}")
        started = time.monotonic()
        try:
            await engine.while_alive(quiesce(self.admin(), self.gate, self.settings))
        except EngineFailed as failure:
            self.lose("the engine failed before a swap")
            raise EngineRestarting(f"{failure}; {new.label} was not tried yet") from failure
        # Exchange the weights, or get the old ones back.
        quiet = time.monotonic()
        try:
            await engine.while_alive(exchange(self.admin(), old, new, self.settings))
        except SwapRefused:
            self._serve(old)
            raise
        except EngineFailed:
            self.lose("the engine failed during a swap")
            raise
        # Serve, and free what the old weights occupy.
        self.last_swap = {"drain": quiet - started, "load": time.monotonic() - quiet}
        self.swaps += 1
        for step, seconds in self.last_swap.items():
            metrics.RELOAD_SECONDS.labels(step).observe(seconds)
        self._serve(new)
        if old.artifact:
            await asyncio.to_thread(self._store.forget, old.artifact)
        _log.info("weights swapped", extra={"policy": new.label, "seconds": self.last_swap})

    def _running_engine(self) -> EngineProcess:
        """The engine. Raises EngineRestarting while it is lost."""
        if self.engine is None or self.lost.is_set():
            raise EngineRestarting("the engine is being restarted; try again after that")
        return self.engine

    async def _restart_on(self, new: Checkpoint, facts: Facts) -> None:
        """Have an engine that starts on `new` take over; requests that last longer than the wait are repeated on it."""
        engine = self._running_engine()
        self.gate.close(f"starting an engine on {new.label}")
        await self.gate.drained(self.settings.swap_wait_seconds)
        self.engine = None
        await engine.stop()
        metrics.RESTARTS.inc()
        try:
            await self._start(new, facts)
        except EngineFailed:
            self.lose(f"no engine starts on {new.label}")
            raise

    async def _start(self, checkpoint: Checkpoint, facts: Facts) -> None:
        """Start the first engine, or one in the place of a lost one. Raises EngineFailed."""
        self.state = "starting" if self.serving is None else "restarting"
        engine = EngineProcess(self.settings, start_folder(self.settings, checkpoint))
        admin = EngineAdmin(self.http, engine.url, self.settings.engine_admin_seconds)
        try:
            await engine.start()
            await begin(admin, engine.folder, checkpoint, self.settings)
            self.max_model_len = await admin.max_model_len()
        except BaseException:
            await engine.stop()
            raise
        self.engine, self._facts = engine, facts
        task = asyncio.create_task(self._notice_end(engine))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        self._serve(checkpoint)
        _log.info("engine serves", extra={"policy": checkpoint.label, "url": engine.url})

    def _serve(self, checkpoint: Checkpoint) -> None:
        metrics.VERSION.clear()
        metrics.VERSION.labels(checkpoint.label, checkpoint.digest[:12]).set(1)
        self.serving, self.state = checkpoint, "serving"
        self.condition.forget()
        if self.engine is not None and not self.lost.is_set():
            self.gate.open(checkpoint.label, self.engine.url)

    async def _notice_end(self, engine: EngineProcess) -> None:
        await engine.ended()
        if engine is self.engine:
            self.lose("the engine process ended")

    def lose(self, reason: str) -> None:
        """Close the gate and have the engine restarted."""
        _log.error("engine lost", extra={"reason": reason})
        self.gate.close(f"{reason}; restarting it")
        self.state = "restarting"
        self.lost.set()

    async def is_lost(self, ticket: Ticket) -> bool:
        """Whether the engine that had a failed request is gone, so that another try can help."""
        engine = self.engine
        if engine is None or engine.url != ticket.url or self.lost.is_set():
            return True
        return await self._health(engine) == "dead"

    async def _health(self, engine: EngineProcess) -> Health:
        health = await engine.health()
        if health == "dead" and engine is self.engine and not self.lost.is_set():
            self.lose("the engine is dead")
        return health

    async def heal(self) -> None:
        """Restart the engine on the last good weights whenever it is lost, until cancelled."""
        while True:
            await self.lost.wait()
            async with self.moving:
                await self._restart()

    async def _restart(self) -> None:
        """Start an engine until one serves, with a growing wait after each failure."""
        good, facts = self.serving, self._facts
        if good is None or facts is None:
            raise RuntimeError("the lost engine has never served")
        self.gate.close("restarting the engine")
        failures, waits = 0, backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        while True:
            if self.engine is not None:
                lost, self.engine = self.engine, None
                await lost.stop()
            try:
                self.lost.clear()
                # The files may have changed since they were checked: what is served is what the manifest says.
                await asyncio.to_thread(check_again, self._store, good, facts)
                metrics.RESTARTS.inc()
                await self._start(good, facts)
            except (EngineFailed, InvalidArtifact, OSError) as error:
                failures += 1
                wait = next(waits)
                _log.error("engine did not restart", extra={"reason": str(error), "failures": failures, "wait": wait})
                self.gate.close(f"the engine did not restart ({failures} times): {error}")
                await asyncio.sleep(wait)
            else:
                return

    async def stop(self) -> None:
        """Stop the engine for good."""
        self.gate.close("shutting down")
        engine, self.engine = self.engine, None
        for task in self._endings:
            task.cancel()
        if engine is not None:
            await engine.stop()

    async def unready(self) -> list[str]:
        """The reasons why this replica should get no traffic; empty when it should. The engine is not asked for it."""
        reasons = [] if self.gate.reason is not None else await self.condition.result()
        # It may have been lost by that answer.
        if self.gate.reason is not None:
            return [self.gate.reason]
        label = self.serving.label if self.serving else "nothing"
        if self.target not in (None, label) and self.target not in self.refused:
            reasons = [*reasons, f"serves {label}, announced is {self.target}"]
        return reasons

    async def _ask_condition(self) -> list[str]:
        """What is wrong with the engine: empty when it is healthy and not paused."""
        engine = self.engine
        if engine is None:
            return ["the engine is dead"]
        health = await self._health(engine)
        if health != "ok":
            return [f"the engine is {health}"]
        try:
            paused = await engine.while_alive(self.admin().is_paused())
        except EngineFailed as error:
            await self._health(engine)
            return [str(error)]
        return ["the engine is paused"] if paused else []
