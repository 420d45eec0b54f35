"""How many connections a server has open, and whom it drops."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from selfreward.server.connections import guarded_protocol
from selfreward.server.health import add_health

MOST = 5


@contextmanager
def serving(app: FastAPI, most: int = MOST) -> Iterator[int]:
    """The port of a server with few connections."""
    config = uvicorn.Config(app, http=guarded_protocol(most), ws="none", log_config=None, port=0)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_idle_connections_keep_nobody_out() -> None:
    app = FastAPI()
    add_health(app)
    with serving(app) as port, ExitStack() as held:
        idle = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(4 * MOST)]
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
        idle[0].settimeout(5)
        assert closed(idle[0])


def closed(connection: socket.socket) -> bool:
    """Whether the server has closed it, in whichever way its event loop does."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("path", ["/held", "/healthz"])
def test_a_connection_at_work_is_not_dropped(path: str) -> None:
    app = FastAPI()
    add_health(app)
    release, at_work = threading.Event(), threading.Semaphore(0)

    @app.get("/held")
    def held() -> str:
        at_work.release()
        release.wait(20)
        return "answered"

    answers: list[str] = []

    def ask(port: int) -> None:
        answers.append(httpx.get(f"http://127.0.0.1:{port}/held", trust_env=False, timeout=30).text)

    with serving(app) as port:
        asking = [threading.Thread(target=ask, args=(port,)) for _ in range(MOST)]
        for thread in asking:
            thread.start()
        for _ in asking:
            assert at_work.acquire(timeout=10)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
        release.set()
        for thread in asking:
            thread.join()
    assert answers == ['"answered"'] * MOST
