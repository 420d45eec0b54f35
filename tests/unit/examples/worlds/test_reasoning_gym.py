"""Generators of reasoning-gym as worlds, with the real library."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.worlds.reasoning_gym import items
from examples.worlds.world import World, WorldError, load_world
from tests.support.seed_files import check_ranks, check_seed_files

NAME = "chain_sum"
INSTALLED = importlib.util.find_spec("reasoning_gym") is not None
installed = pytest.mark.skipif(not INSTALLED, reason="reasoning-gym is not installed (pip install reasoning-gym)")
HOSTILE = [
    "exec('while True: pass')",
    "exec('import os; os.kill(os.getpid(), 9)')",
    "exec('import os; os.system(\"touch FILE\")')",
    "open('FILE', 'w')",
    "x" * 5000,
]


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in (
        ("HELDOUT", 20),
        ("EFT_EVAL", 10),
        ("POOL", 150),
        ("ANSWERS", 30),
        ("REVIEWS", 30),
        ("EFT", 10),
    ):
        monkeypatch.setattr(items, name, value)
    items.entries.cache_clear()
    items._by_question.cache_clear()
    yield load_world(f"reasoning_gym:{NAME}")
    items.entries.cache_clear()
    items._by_question.cache_clear()


@pytest.mark.skipif(INSTALLED, reason="reasoning-gym is installed")
def test_a_missing_library_is_named() -> None:
    with pytest.raises(WorldError, match="pip install 'reasoning-gym'"):
        load_world("reasoning_gym:chain_sum")


def test_a_generator_is_needed() -> None:
    with pytest.raises(WorldError, match="reasoning_gym:simple_integration"):
        load_world("reasoning_gym")


@installed
def test_unknown_generators_are_refused() -> None:
    with pytest.raises(WorldError, match=r"no generator 'chess'.*simple_integration"):
        load_world("reasoning_gym:chess")


@installed
def test_seed_files(sums: World, tmp_path: Path) -> None:
    check_seed_files(sums, tmp_path)
    check_ranks(sums, tmp_path / "a")


@installed
def test_hostile_answers_end_in_time_do_nothing_and_are_wrong(
    sums: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.worlds.reasoning_gym.verifier.SECONDS", 2)
    world = load_world("reasoning_gym:simple_integration")  # its verifier runs answers as Python
    entry = items.entries("simple_integration")[0]
    for text in HOSTILE:
        started = time.monotonic()
        assert not world.solved(entry["question"], text.replace("FILE", str(tmp_path / "made")))
        assert time.monotonic() - started < 60
    assert list(tmp_path.iterdir()) == []
    assert world.solved(entry["question"], entry["answer"])
