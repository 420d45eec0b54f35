"""Fixtures shared by all tests: a real Redis server and a clean database in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from selfreward.redis_server import free_port, start_redis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis server that lives as long as the test session."""
    port = free_port()
    process = start_redis(tmp_path_factory.mktemp("redis"), port)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of the session's Redis, emptied."""
    with Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def store_root(tmp_path: Path) -> str:
    """Root of an empty artifact store."""
    return str(tmp_path / "artifacts")
