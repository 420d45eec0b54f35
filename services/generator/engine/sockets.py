"""A folder for the sockets of each engine, because vLLM leaves sockets behind when an engine is killed.

Replicas may share a working directory, so each holds a lock on its folder. The kernel lifts the lock when the process
ends, however that happens: a folder without a holder is abandoned and can be removed.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "sockets-"
_LOCK = "lock"


class SocketFolder:
    """A new folder in `work_dir`, held until it is removed. `name` is its path for an engine that runs in `work_dir`.

    That path is relative, since a socket's path may have 107 bytes and a working directory's any length.
    """

    def __init__(self, work_dir: Path) -> None:
        # One replica at a time: a folder that is made and not yet held looks abandoned.
        entrance = _locked(work_dir / f"{_PREFIX}lock")
        try:
            remove_abandoned(work_dir)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=work_dir))
            self._held: int | None = _locked(self.path / _LOCK)
        finally:
            os.close(entrance)
        self.name = self.path.name

    def remove(self) -> None:
        """Remove the folder with its content. Doing it twice is harmless."""
        if self._held is None:
            return
        _remove(self.path)
        os.close(self._held)
        self._held = None


def remove_abandoned(work_dir: Path) -> None:
    """Remove the folders in `work_dir` whose holders have ended without removing them."""
    for folder in work_dir.glob(f"{_PREFIX}*/"):
        try:
            held = _locked(folder / _LOCK, fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            continue
        _remove(folder)
        os.close(held)


def _locked(file: Path, how: int = 0) -> int:
    """A descriptor that holds a lock on the file, which is made if need be. Child processes do not inherit it.

    `how` is LOCK_NB to raise BlockingIOError instead of waiting.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove(folder: Path) -> None:
    # Processes of a killed engine may unlink their sockets meanwhile. The next engine removes what is left.
    shutil.rmtree(folder, ignore_errors=True)
