"""The trainer's HTTP application: health and metrics, around the worker that its lifespan runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from selfreward.redis.connection import RedisClient, connect
from selfreward.server.background import cancel_and_wait
from selfreward.server.errors import add_error_handlers
from selfreward.server.health import add_health
from selfreward.server.startup import StartRefused
from selfreward.store.artifacts import ArtifactStore
from services.trainer.settings import TrainerSettings
from services.trainer.worker.launch import this_node
from services.trainer.worker.node import WorkerNode
from services.trainer.worker.worker import Worker

# A healthy worker can be silent for as long as nine tries of a Redis command take to time out.
_LONGEST_SILENCE_SECONDS = 180.0


def create_app(settings: TrainerSettings) -> FastAPI:
    """An application whose lifespan runs the worker; when it ends, the worker and its child process are stopped.

    A worker for a single job calls `app.state.leave` when it has ended. Raises StartRefused for one of several nodes
    without the name of its job.
    """
    redis = connect(settings.redis_url)
    worker = _worker(redis, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(worker.run())
        app.state.worker_task = task
        if settings.train_job:
            task.add_done_callback(lambda _: app.state.leave())
        yield
        await cancel_and_wait([task])
        await redis.aclose()

    # Health and metrics need no key, and there is nothing else: no document of the routes either.
    app = FastAPI(title="selfreward trainer", lifespan=lifespan, openapi_url=None)
    app.state.worker = worker

    def trouble() -> str | None:
        task, silent = app.state.worker_task, time.monotonic() - worker.last_turn
        if task.done():
            return f"the worker has ended: {task.exception()}"
        return f"the worker has been silent for {silent:.0f} s" if silent > _LONGEST_SILENCE_SECONDS else None

    add_error_handlers(app)
    add_health(app, trouble=trouble)
    return app


def _worker(redis: RedisClient, settings: TrainerSettings) -> Worker | WorkerNode:
    node = this_node()
    if node.nodes > 1 and settings.train_job is None:
        raise StartRefused(
            f"PET_NNODES={node.nodes} without SELFREWARD_TRAIN_JOB: several nodes train one job together, so name "
            "it, or leave PET_NNODES out"
        )
    if node.rank > 0 and settings.train_job is not None:
        return WorkerNode(redis, settings, settings.train_job)
    return Worker(redis, ArtifactStore(settings.artifacts, settings.artifact_cache), settings)
