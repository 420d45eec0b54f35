"""A small file system, to be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selfreward.server.disk import free_bytes

DISK_BYTES = 4 << 20


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of DISK_BYTES at `folder`; skips where none can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def fill(disk: Path) -> Path:
    """Take all the room there is; deleting the file gives it back."""
    filler = disk / "filler"
    filler.touch()
    while free := free_bytes(disk):
        with filler.open("ab") as stream:
            stream.write(b"x" * free)
    return filler
