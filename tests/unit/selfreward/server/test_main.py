"""A server that cannot start says so by its exit status."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from fastapi import FastAPI

from selfreward.processes.child import free_port
from selfreward.server.main import serve, server_config
from selfreward.settings import Settings


def test_a_server_that_does_not_start_ends_with_status_3() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("the engine is not there")
        yield

    config = server_config(FastAPI(lifespan=lifespan), Settings(), free_port(), shutdown_seconds=1)
    with pytest.raises(SystemExit) as ended:
        serve(uvicorn.Server(config))

    assert ended.value.code == 3


def test_a_server_that_is_told_to_leave_ends_as_usual() -> None:
    server: list[uvicorn.Server] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        def leave() -> None:
            server[0].should_exit = True

        asyncio.get_running_loop().call_later(0.1, leave)
        yield

    app = FastAPI(lifespan=lifespan)
    server.append(uvicorn.Server(server_config(app, Settings(), free_port(), shutdown_seconds=1)))

    serve(server[0])

    assert server[0].started
