"""The same command finds its run again, and nobody else's."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from examples.worlds.folders import Demo, demo_of, find_folder, is_done, minutes_of, new_folder, working_in
from examples.worlds.world import WorldError

DEMO = Demo("countdown", "m0", "/m0", 0, ("prompts.per_iteration=9",), "hash")


def test_a_stopped_run_is_found_by_the_same_command_alone(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "countdown-0", DEMO)
    assert demo_of(folder) == DEMO
    assert find_folder(tmp_path, DEMO) == folder
    others = (replace(DEMO, seed=1), replace(DEMO, overrides=()), replace(DEMO, recipe="x"), replace(DEMO, commit="c"))
    assert [find_folder(tmp_path, other) for other in others] == [None] * 4


def test_the_newest_of_several_is_taken(tmp_path: Path) -> None:
    older, newer = (new_folder(tmp_path, "countdown-0", DEMO) for _ in range(2))
    assert older != newer
    os.utime(older / "demo.json", (1, 1))
    assert find_folder(tmp_path, DEMO) == newer


def test_a_run_is_not_taken_from_another_process(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "countdown-0", DEMO)
    with working_in(folder):
        assert find_folder(tmp_path, DEMO) is None
        with pytest.raises(WorldError, match="in use by another process"), working_in(folder):
            pass
    assert is_done(folder)


def test_a_run_is_done_only_when_it_ended_well(tmp_path: Path) -> None:
    folder = new_folder(tmp_path, "countdown-0", DEMO)
    with pytest.raises(KeyboardInterrupt), working_in(folder):
        raise KeyboardInterrupt
    assert not is_done(folder)
    with working_in(folder):
        pass
    assert minutes_of(folder) >= 0
    assert find_folder(tmp_path, DEMO) is None
    assert find_folder(tmp_path, DEMO, done=True) == folder


def test_a_folder_without_a_demo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=r"no demo\.json"):
        demo_of(tmp_path)
