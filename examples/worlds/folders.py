"""The folder of a demo run: found again by the same command, and used by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from examples.worlds.world import WorldError

_FILE = "demo.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class Demo:
    """What a folder's run is: two commands with the same values go on with the same run.

    `model` is the base model's name and `checkpoint` its folder. `recipe` is the hash of the resolved recipe without
    the seed files' paths. `commit` is empty except for evidence.
    """

    world: str
    model: str
    checkpoint: str
    seed: int
    overrides: tuple[str, ...]
    recipe: str
    commit: str = ""


def new_folder(runs: Path, prefix: str, demo: Demo) -> Path:
    """A new folder `runs/<prefix>-<time>` for a run."""
    runs.mkdir(parents=True, exist_ok=True)
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 0
    while True:
        folder = runs.resolve() / f"{prefix}-{stamp}{f'-{number}' if number else ''}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            continue
        _write(folder, {"demo": asdict(demo), "done": False, "seconds": 0.0})
        return folder


def find_folder(runs: Path, demo: Demo, *, done: bool = False) -> Path | None:
    """The newest folder below `runs` with the same run, if it is not finished and no process has it.

    With `done` a finished one is found too.
    """
    found = [path.parent for path in runs.resolve().glob(f"*/{_FILE}") if not path.parent.is_symlink()]
    for folder in sorted(found, key=lambda path: (path / _FILE).stat().st_mtime, reverse=True):
        if demo_of(folder) == demo and (done or not is_done(folder)) and not _taken(folder):
            return folder
    return None


def demo_of(folder: Path) -> Demo:
    """What the folder's run is. WorldError if no demo has run there."""
    content = _read(folder)["demo"]
    return Demo(**{**content, "overrides": tuple(content["overrides"])})


def is_done(folder: Path) -> bool:
    """Whether the folder's run is finished and reported."""
    return bool(_read(folder)["done"])


def minutes_of(folder: Path) -> float:
    """The minutes that the folder's run has taken so far, without those between a stop and its continuation."""
    return round(float(_read(folder)["seconds"]) / 60, 1)


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Hold the folder; its run is done if the block ends without an error. The time is added in any case.

    Raises WorldError if another process holds the folder.
    """
    started, done = time.monotonic(), False
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorldError(f"{folder} is in use by another process: wait for it, or start without RESUME") from None
        try:
            yield
            done = True
        finally:
            content = _read(folder)
            _write(folder, {**content, "done": done, "seconds": content["seconds"] + time.monotonic() - started})


def _taken(folder: Path) -> bool:
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / _FILE).read_text()))
    except FileNotFoundError:
        raise WorldError(f"{folder} has no {_FILE}: give a folder that `make demo` made") from None


def _write(folder: Path, content: dict[str, Any]) -> None:
    partial = folder / f".{_FILE}"
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, folder / _FILE)
