"""The engine that all service tests share: a real gateway process with a real vLLM child on the tiny model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.live_generator import Generator, running_generator
from tests.support.places import M0


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The committed base model of the demo world: a Llama of about a million parameters."""
    return M0


@pytest.fixture(scope="session")
def generator(redis_server: str, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generator]:
    """The session's generator. Which weights it serves is what the last test announced: announce your own."""
    with running_generator(redis_server, tiny_model, tmp_path_factory.mktemp("generator")) as running:
        yield running
