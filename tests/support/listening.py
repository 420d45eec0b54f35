"""ASGI applications as servers of this process, for clients that need an address."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from selfreward.processes.child import free_port
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.support.judge_engine import Engine


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Base URL of `app` while it is served."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=port, log_level="critical", ws="none", lifespan="on", loop="asyncio", timeout_graceful_shutdown=1
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()


@contextmanager
def listening_judge(engine: Engine, **settings: Any) -> Iterator[str]:
    """Base URL of a judge whose engine is `engine`."""
    chosen = JudgeSettings(**{"generator_url": "http://engine", "judge_engine_attempts": 2, **settings})
    with listening(create_app(chosen, engine_transport=httpx.ASGITransport(engine.app))) as url:
        yield url
