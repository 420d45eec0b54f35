"""The services in this process, as their applications."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI

from orchestrator.app import create_app as create_orchestrator
from orchestrator.settings import OrchestratorSettings
from services.generator.app import create_app as create_generator
from services.generator.settings import GeneratorSettings
from services.judge.app import create_app as create_judge
from services.judge.settings import JudgeSettings
from services.trainer.app import create_app as create_trainer
from services.trainer.settings import TrainerSettings


def application(name: str, redis_url: str, folder: Path, **settings: object) -> FastAPI:
    values = {"redis_url": redis_url, "artifacts": str(folder / "artifacts"), "work_dir": folder, **settings}
    nothing = {"generator_url": "http://127.0.0.1:9", "judge_url": "http://127.0.0.1:9", "judge_engine_attempts": 1}
    if name == "generator":
        return create_generator(GeneratorSettings.model_validate({**values, "queue_seconds": 0.05}))
    if name == "judge":
        return create_judge(JudgeSettings.model_validate({**values, **nothing}))
    if name == "trainer":
        return create_trainer(TrainerSettings.model_validate(values))
    return create_orchestrator(OrchestratorSettings.model_validate({**values, **nothing}))


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as http,
    ):
        yield http
