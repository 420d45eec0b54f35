"""A judge that listens, for tests of its clients, and a bucket. A test file with its own `engine` has a judge of it."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfreward import JudgeClient
from tests.listening import listening_judge
from tests.s3 import BUCKET, s3_server
from tests.unit.judge_engine import Engine, by_length


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
