"""`stack.json` in the folder of a local stack: the lock that its process holds, and the addresses of its services.

The lock ends with the process, so the file of a stack that was killed is known to be old.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "SELFREWARD_FOLDER"
DEFAULT_FOLDER = "runs/local"
_NAME = "stack.json"


class StackError(RuntimeError):
    """A local stack cannot start, or has ended. The message is one line with the remedy."""


class StackFile:
    """The file of a folder, locked by this process until `close`. StackError if another process has the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / _NAME
        self._file = path.open("a+")
        if not self._lock():
            self._file.close()
            other = _read(path)
            raise StackError(
                f"{folder} is in use by process {other.get('pid', 'unknown')}, whose orchestrator is at "
                f"{other.get('urls', {}).get('orchestrator', 'an unknown address')}: stop that one, or give another "
                "--folder"
            )

    def _lock(self) -> bool:
        """Whether the lock is this process's now. It is tried for half a second, since readers hold it for a moment."""
        for _ in range(10):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                return True
        return False

    def write(self, urls: Mapping[str, str]) -> None:
        """Write the process and its addresses, by the names of the services and `redis`."""
        self._file.truncate(0)
        self._file.write(json.dumps({"pid": os.getpid(), "urls": dict(urls)}, indent=1) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Empty the file, and give the folder back."""
        self._file.truncate(0)
        self._file.close()


def running_urls(folder: Path) -> dict[str, str]:
    """The addresses of the stack that runs in `folder`; empty if none does."""
    path = folder / _NAME
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return dict(_read(path).get("urls", {}))
    except OSError:
        # No such file, or a file system without locks.
        return {}
    return {}


def _read(path: Path) -> dict[str, Any]:
    """The file's content; empty in the moment before it is written."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
