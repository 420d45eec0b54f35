"""How many connections a server has open, whom it drops, and how long and how large a head may be."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from selfreward.server import connections
from selfreward.server.connections import HEAD_BYTES, guarded_protocol
from selfreward.server.health import add_health

MOST = 5
# The images of judge, trainer and orchestrator have h11 alone.
PROTOCOLS = (HttpToolsProtocol, H11Protocol)


@pytest.fixture(params=PROTOCOLS, autouse=True)
def protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of uvicorn's protocols in turn."""
    monkeypatch.setattr("tests.unit.selfreward.server.test_connections.PROTOCOL", request.param)


PROTOCOL: type[asyncio.Protocol] = HttpToolsProtocol


@contextmanager
def serving(app: FastAPI, most: int = MOST) -> Iterator[int]:
    """The port of a server with few connections."""
    config = uvicorn.Config(app, http=guarded_protocol(most, PROTOCOL), ws="none", log_config=None, port=0)
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


def counting() -> FastAPI:
    app = FastAPI()
    add_health(app)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    return app


def sent(port: int, *parts: bytes) -> bytes:
    """What the server answers to parts of a request, to the end of the connection or of ten seconds."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(1 << 16):
                answer += piece
        except (ConnectionError, TimeoutError):
            pass
    return answer


_CHUNKED = b"POST /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
# The first read of a message, of at most 256 KiB, is not counted.
_LARGE = [b"x" * 10_000] * 100


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"GET /healthz HTTP/1.1\r\nhost: x\r\na: ", *_LARGE, b"\r\n\r\n"], id="one header"),
        pytest.param([b"GET /healthz?", *_LARGE, b" HTTP/1.1\r\nhost: x\r\n\r\n"], id="first line"),
        pytest.param([b"GET /healthz HTTP/1.1\r\nhost: x\r\n", *[b"a: b\r\n" * 999] * 100, b"\r\n"], id="many headers"),
        pytest.param([_CHUNKED, b"1;", *_LARGE, b"\r\nx\r\n0\r\n\r\n"], id="chunk extension"),
        pytest.param([_CHUNKED, b"1\r\nx\r\n0\r\na: ", *_LARGE, b"\r\n\r\n"], id="trailer"),
    ],
)
def test_a_large_head_is_refused(parts: list[bytes]) -> None:
    with serving(counting()) as port:
        assert b" 200 " not in sent(port, *parts)
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200


def test_a_body_of_many_small_chunks_is_no_large_head() -> None:
    count = 2 * HEAD_BYTES
    with serving(counting()) as port:
        assert sent(port, _CHUNKED, b"1\r\nx\r\n" * count, b"0\r\n\r\n").endswith(str(count).encode())


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_a_head_that_does_not_end_is_given_up(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving(counting()) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        if first:
            connection.sendall(first)
            connection.recv(1 << 16)
        began = time.monotonic()
        ended = False
        while not ended and time.monotonic() - began < 10:
            # Each byte would keep a deadline away that were counted from the last one.
            try:
                connection.sendall(b"G")
                connection.settimeout(0.1)
                ended = connection.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended


def test_a_connection_without_a_word_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving(counting()) as port, socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert closed(connection)
