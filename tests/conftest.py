"""Fixtures shared by all tests: a real Redis server, a judge that listens, a bucket. A test file with its own `engine`
has a judge of it."""

import importlib.util
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from selfreward import JudgeClient
from selfreward.processes.child import free_port
from selfreward.processes.redis import bundled_redis, start_redis
from tests.support.disk import small_disk
from tests.support.hermetic import foreign_connections, isolate
from tests.support.judge_engine import Engine, by_length
from tests.support.listening import listening_judge
from tests.support.s3 import BUCKET, s3_server

_SLOWEST = (
    "tests/loop/",
    "tests/service/generator/",
    "tests/service/trainer/",
    "tests/service/",
    "tests/deploy/",
    "tests/redis/",
)
_ON_THE_GENERATOR = (
    "tests/service/generator/",
    "tests/service/orchestrator/",
    "tests/service/judge/test_judge.py",
    "tests/service/test_capability.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module is imported: some libraries read the environment when they are."""
    # Caches that libraries make there last from session to session; nothing else is to be found there.
    isolate(config.rootpath / ".pytest_cache" / "home")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One list of what was not run, and why."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    lines = [f"{count} tests: {reason}" for reason, count in reasons.items()]
    if system_redis() is None:
        lines.append(
            "the queue on a newer Redis than our packages bring: none is on PATH (apt-get install redis-server)"
        )
    if lines:
        terminalreporter.section("not run")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


class SharedTogether(LoadFileScheduling):  # type: ignore[misc]
    """What is shared stays in one process when tests run in two: a file's fixtures, and the one engine of the services.

    xdist's groups are marks that it writes into the tests' ids, which pytest 9.2 does not let it.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "generator" if file.startswith(_ON_THE_GENERATOR) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SharedTogether:
    """The order in which tests are given to processes."""
    return SharedTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders that take longest begin first, so that both processes end at about the same time."""
    items.sort(key=lambda item: next((n for n, part in enumerate(_SLOWEST) if part in item.nodeid), len(_SLOWEST)))


@pytest.fixture(scope="session", autouse=True)
def foreign_addresses() -> Iterator[list[Any]]:
    """Addresses that are none of the tests', to which this process connected all the same (and was refused)."""
    with foreign_connections() as tried:
        yield tried


@pytest.fixture(autouse=True)
def connects_to_nothing_foreign(foreign_addresses: list[Any]) -> Iterator[None]:
    """Fails a test that connects to another machine or to where a developer's own stack listens."""
    foreign_addresses.clear()
    yield
    assert foreign_addresses == [], "give what connects here an address of the test's own, or tests.support's CLOSED"


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis server that lives as long as the test session."""
    yield from _served(tmp_path_factory.mktemp("redis"))


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of the session's Redis, emptied."""
    return _emptied(redis_server)


def system_redis() -> str | None:
    """The machine's own `redis-server`, where there is one."""
    folders = os.environ["PATH"].split(os.pathsep)
    return shutil.which(
        "redis-server", path=os.pathsep.join(each for each in folders if not each.startswith(sys.prefix))
    )


@pytest.fixture(scope="session", params=["embedded", *(["system"] if system_redis() else [])])
def redis_server_binary(request: pytest.FixtureRequest) -> str:
    """Each Redis that can be had here: the 6.2 that comes with our packages, and the machine's own."""
    server = bundled_redis() if request.param == "embedded" else system_redis()
    assert server is not None, "the `local` extra is part of the test environment"
    return server


@pytest.fixture(scope="session")
def each_redis_server(redis_server_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server of each Redis that can be had here."""
    yield from _served(tmp_path_factory.mktemp("each-redis"), redis_server_binary)


@pytest.fixture
def each_redis_url(each_redis_server: str) -> str:
    """URL of a server of each Redis that can be had here, emptied."""
    return _emptied(each_redis_server)


@pytest.fixture
def store_root(tmp_path: Path) -> str:
    """Root of an empty artifact store."""
    return str(tmp_path / "artifacts")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few MiB."""
    with small_disk(tmp_path / "disk"):
        yield tmp_path / "disk"


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The judge's engine, which scores answers by their length."""
    return Engine(by_length)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    """The judge's address."""
    with listening_judge(engine) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[JudgeClient]:
    """A blocking client of the judge."""
    with JudgeClient(url) as client:
        yield client


@pytest.fixture(scope="session")
def s3_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a bucket on a server of this machine; the environment leads there."""
    if any(importlib.util.find_spec(name) is None for name in ("moto", "flask_cors", "s3fs")):
        pytest.skip("moto or s3fs is not installed: install requirements.lock again")
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"


@pytest.fixture
def bucket(s3_bucket: str, tmp_path: Path) -> str:
    """URL of an empty place in the bucket."""
    return f"{s3_bucket}/{tmp_path.name}"


def _served(folder: Path, binary: str | None = None) -> Iterator[str]:
    port = free_port()
    process = start_redis(folder, port, binary=binary)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(timeout=10)


def _emptied(url: str) -> str:
    with Redis.from_url(url) as client:
        client.flushall()
    return url
