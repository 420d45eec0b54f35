"""Disk space: whether there is enough before something is written, and whether an error says that there was none."""

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

MIB = 1 << 20


def free_bytes(folder: Path) -> int:
    """Bytes that this process can still write below `folder`, which need not exist yet."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def shortage(folders: Iterable[Path], least_mib: int) -> str | None:
    """Where less than `least_mib` MiB are free, and what to do; None when all of `folders` have enough."""
    for folder in folders:
        free = free_bytes(folder) // MIB
        if free < least_mib:
            return (
                f"disk: {free} MiB free below {least_mib} at {folder}; free some or lower min_free_disk "
                "(SELFREWARD_MIN_FREE_DISK)"
            )
    return None


def is_full(error: BaseException) -> bool:
    """Whether a write failed because the disk, or this user's share of it, is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Libraries in other languages raise errors of their own, with the system's words in them.
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)
