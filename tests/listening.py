"""A judge that really listens on a port, for clients that cannot be given a transport."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from selfreward.redis_server import free_port
from services.judge.app import create_app
from services.judge.settings import JudgeSettings
from tests.unit.test_judge_app import Engine


@contextmanager
def listening_judge(engine: Engine, **settings: Any) -> Iterator[str]:
    """Base URL of a judge whose engine is `engine`."""
    chosen = JudgeSettings(**{"generator_url": "http://engine", "judge_engine_attempts": 2, **settings})
    app = create_app(chosen, engine_transport=httpx.ASGITransport(engine.app))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", ws="none", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the judge did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
