"""A judge that listens, for tests of its clients. A test file with its own `engine` gets a judge of that one."""

from collections.abc import Iterator

import pytest

from selfreward import JudgeClient
from tests.listening import listening_judge
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
