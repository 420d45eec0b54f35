"""A folder of its own for each engine's sockets: vLLM leaves them behind wherever an engine is killed.

Replicas may share a working directory, so a folder is held by a lock, which the kernel lifts when its holder ends,
however that ends: what nobody holds is left over.
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

    A relative path, since a socket's may have 107 bytes and a working directory any length.
    """

    def __init__(self, work_dir: Path) -> None:
        # One at a time: a folder that is made and not yet held looks like one that is left over.
        entrance = _locked(work_dir / f"{_PREFIX}lock")
        try:
            remove_abandoned(work_dir)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=work_dir))
            self._held: int | None = _locked(self.path / _LOCK)
        finally:
            os.close(entrance)
        self.name = self.path.name

    def remove(self) -> None:
        """Remove it with all that is in it; for the second time this does nothing."""
        if self._held is None:
            return
        _remove(self.path)
        os.close(self._held)
        self._held = None


def remove_abandoned(work_dir: Path) -> None:
    """Remove the folders in `work_dir` whose holders have ended without doing so."""
    for folder in work_dir.glob(f"{_PREFIX}*/"):
        try:
            held = _locked(folder / _LOCK, fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            continue
        _remove(folder)
        os.close(held)


def _locked(file: Path, how: int = 0) -> int:
    """A descriptor that holds the file, which is made if need be. Programs that this one starts do not inherit it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove(folder: Path) -> None:
    # Processes of a killed engine may unlink their sockets meanwhile. What is left is removed by the next engine.
    shutil.rmtree(folder, ignore_errors=True)
