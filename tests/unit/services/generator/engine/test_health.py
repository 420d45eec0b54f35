"""When an engine counts as dead. The process here is no engine, but what its port says is what an engine's would."""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from selfreward.processes.child import kill_group
from services.generator.engine.process import EngineProcess, Health
from services.generator.settings import GeneratorSettings

_PAGE = (
    "import http.server, sys\n"
    "class Page(http.server.BaseHTTPRequestHandler):\n"
    "    protocol_version = 'HTTP/1.1'\n"
    "    def do_GET(self):\n"
    "        self.send_response(int(sys.argv[2])); self.send_header('Content-Length', '0'); self.end_headers()\n"
    "    def log_message(self, *_): pass\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Page).serve_forever()\n"
)


@asynccontextmanager
async def engine(folder: Path, status: int | None) -> AsyncIterator[EngineProcess]:
    """A running process whose port answers `status`, or at which nobody listens."""
    made = EngineProcess(GeneratorSettings(work_dir=folder, engine_stop_seconds=0.1), folder)
    code = _PAGE if status is not None else "import time; time.sleep(600)"
    command, pipe = [sys.executable, "-c", code, str(made.port), str(status)], asyncio.subprocess.PIPE
    made._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, start_new_session=True)
    try:
        yield made
    finally:
        kill_group(made._process.pid)
        await made.stop()


async def settled(process: EngineProcess) -> Health:
    """Its health, when its port is open."""
    for _ in range(200):
        if (health := await process.health()) == "ok":
            break
        await asyncio.sleep(0.05)
    return health


@pytest.mark.parametrize(("status", "expected"), [(200, "ok"), (500, "slow"), (503, "dead"), (None, "dead")])
def test_an_engine_is_dead_when_it_says_so_or_its_port_is_closed(
    tmp_path: Path, status: int | None, expected: str
) -> None:
    async def scenario() -> None:
        async with engine(tmp_path, status) as process:
            for _ in range(200):
                if (health := await process.health()) == expected:
                    break
                await asyncio.sleep(0.05)
            assert health == expected

    asyncio.run(scenario())


def test_an_engine_whose_process_has_ended_is_dead(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(tmp_path, 200) as process:
            assert await settled(process) == "ok"
            assert process._process is not None
            kill_group(process._process.pid)
            await process._process.wait()
            assert await process.health() == "dead"

    asyncio.run(scenario())


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_lack_of_descriptors_here_is_no_death_of_the_engine(tmp_path: Path, asked_before: bool) -> None:
    """It was taken for one, and a healthy engine killed. A kept connection does not even notice."""

    async def scenario() -> None:
        async with engine(tmp_path, 200) as process:
            if asked_before:
                assert await settled(process) == "ok"
            with no_descriptors():
                health = await process.health()
            assert health == ("ok" if asked_before else "slow")
            assert await settled(process) == "ok"

    asyncio.run(scenario())


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, limits[1]))
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with suppress(OSError):
            while True:
                held.callback(os.close, os.dup(0))
        yield
