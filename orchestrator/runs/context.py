"""The run and the services that a phase works with."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator import metrics
from orchestrator.runs import events
from orchestrator.runs.errors import RunStopped
from orchestrator.runs.lease import Lease
from orchestrator.runs.state import save, stopped_runs
from orchestrator.settings import OrchestratorSettings
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient
from selfreward.loop.methods import Method, method_of
from selfreward.loop.record import ModelRecord, RunState
from selfreward.recipe.recipe import Recipe
from selfreward.redis.connection import RedisClient
from selfreward.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from orchestrator.cluster.jobs import TrainerJobs


@dataclass(frozen=True)
class Services:
    """Connections that all runs share. `judge` is a plain connection to the judge service.

    `trainer_jobs` starts a trainer for each training job. Without it, waiting trainers take jobs from a queue.
    """

    settings: OrchestratorSettings
    redis: RedisClient
    store: ArtifactStore
    generator: GeneratorClient
    judge: ServiceClient
    trainer_jobs: "TrainerJobs | None" = None


@dataclass
class RunContext:
    """One run, as the lease holder advances it."""

    services: Services
    lease: Lease
    state: RunState

    @property
    def run(self) -> str:
        """The run's id."""
        return self.state.run

    @property
    def recipe(self) -> Recipe:
        """The run's recipe."""
        return self.state.recipe

    @property
    def method(self) -> Method:
        """The recipe's method."""
        return method_of(self.recipe)

    @property
    def other_models(self) -> list[ModelRecord]:
        """The run's models except the current stage's."""
        return [model for model in self.state.models if model.name != self.state.stage]

    async def inputs(self, phase: str) -> dict[str, list[dict[str, Any]]]:
        """Rows of the artifacts that the method reads in a phase of the current stage."""
        artifacts = self.method.inputs(self.run, self.recipe, self.state.stage, phase)
        return {name: await self.read_rows(artifact) for name, artifact in artifacts.items()}

    async def update(self, **fields: Any) -> None:
        """Change fields of the run's record and store it. Raises LeaseLost."""
        self.state = self.state.model_copy(update=fields)
        await save(self.lease, self.state)

    async def check(self) -> None:
        """Raises RunStopped if the run is to stop."""
        if self.run in await stopped_runs(self.services.redis):
            raise RunStopped(f"run {self.run} was asked to stop")

    async def block(self, reason: str) -> None:
        """Record and report what the run waits for; an empty reason means it no longer waits. Raises LeaseLost."""
        if reason == self.state.blocked:
            return
        await self.update(blocked=reason)
        metrics.BLOCKED.set(bool(reason))
        message = f"paused: {reason}" if reason else "the run goes on"
        await events.emit(self.services.redis, self.run, message=message)

    async def progress(self, done: int, total: int, message: str = "", metrics: dict[str, float] | None = None) -> None:
        """Report the progress of the current phase."""
        await events.emit(
            self.services.redis,
            self.run,
            stage=self.state.stage,
            phase=self.state.phase,
            done=done,
            total=total,
            message=message,
            metrics=metrics,
        )

    async def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Rows of a JSON Lines artifact; an empty list if there is none."""
        store = self.services.store
        return await asyncio.to_thread(lambda: list(store.read_jsonl(name)) if store.exists(name) else [])

    async def write_rows(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """Write a JSON Lines artifact. Raises LeaseLost."""
        await asyncio.to_thread(self.services.store.write_jsonl, name, rows, self.lease.check_clock)

    async def write_json(self, name: str, data: Any) -> None:
        """Write a JSON artifact. Raises LeaseLost."""
        await asyncio.to_thread(self.services.store.write_json, name, data, self.lease.check_clock)
