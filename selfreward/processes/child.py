"""Child processes that never outlive their parent, and the ports that they listen on."""

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have the kernel send this process SIGTERM when the thread that started it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_child(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own; its output is appended to `log`.

    The kernel sends the child SIGTERM when the thread that started it ends, so call this from a thread that lives as
    long as the child should. `environment` is added to that of this process.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def stop_child(process: subprocess.Popen[bytes], grace: float = 20.0) -> int:
    """Send the child SIGTERM, and its whole group SIGKILL after up to `grace` seconds; returns the exit status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
    status = process.wait(timeout=10)
    kill_group(process.pid)
    return status


def kill_group(leader: int) -> None:
    """Send SIGKILL to the process group that `leader` leads or led, if anything of it is left."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def log_tail(log: Path, characters: int = 2000) -> str:
    """The end of a log file, for an error message."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""


def last_line(log: Path) -> str:
    """The last line of a log file that is not blank, cut to 300 characters, for an error message of one line."""
    lines = log_tail(log).strip().splitlines()
    return lines[-1].strip()[-300:] if lines else "it logged nothing"


def is_free(port: int) -> bool:
    """Whether nothing listens on a TCP port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def reserve_port() -> socket.socket:
    """A socket that reserves a TCP port on loopback (`getsockname()[1]`) until it is closed.

    It is bound and does not listen, so the kernel gives the port neither to another caller nor to an outgoing
    connection. A server that sets SO_REUSEADDR, as uvicorn, vLLM and Redis do, can still listen on it.
    """
    reservation = socket.socket()
    reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reservation.bind(("127.0.0.1", 0))
    return reservation


def free_port() -> int:
    """A TCP port on loopback, reserved (see `reserve_port`) for as long as this process lives."""
    reservation = reserve_port()
    port = int(reservation.getsockname()[1])
    reservation.detach()
    return port
