"""Runs tests in a network of their own, in which somebody else's Redis and services hold the default ports.

`unshare --user --map-root-user --net python -m tests.support.taken_ports FOLDER TEST...`, in an environment that leads
to these servers and to FOLDER, prints as JSON how pytest ended and what of theirs it touched.
"""

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

from redis import Redis

from selfreward.processes.child import stop_child
from selfreward.processes.redis import start_redis
from tests.support.hermetic import DEFAULT_PORTS

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
KEY, VALUE = b"theirs", b"kept"


def shell(folder: Path) -> dict[str, str]:
    """The environment of somebody whose own stack runs: every setting leads to it."""
    urls = {name: f"http://127.0.0.1:{port}" for name, port in DEFAULT_PORTS.items()}
    return os.environ | {
        "HOME": str(folder),
        "SELFREWARD_REDIS_URL": f"redis://127.0.0.1:{DEFAULT_PORTS['redis']}/0",
        "SELFREWARD_GENERATOR_URL": urls["generator"],
        "SELFREWARD_JUDGE_URL": urls["judge"],
        "SELFREWARD_ORCHESTRATOR_URL": urls["orchestrator"],
        "SELFREWARD_ARTIFACTS": str(folder / "artifacts"),
        "SELFREWARD_WORK_DIR": str(folder / "work"),
        "SELFREWARD_API_KEY": "secret",
    }


def main() -> None:
    """Run the tests and print what they touched."""
    folder, tests = Path(sys.argv[1]), sys.argv[2:]
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    server = start_redis(folder / "redis", DEFAULT_PORTS["redis"])
    services = {
        name: socket.create_server(("127.0.0.1", port)) for name, port in DEFAULT_PORTS.items() if name != "redis"
    }
    home = folder / "home"
    home.mkdir()
    with Redis(port=DEFAULT_PORTS["redis"]) as redis:
        redis.set(KEY, VALUE)
        before = _connections(redis)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        ended = subprocess.run(command, env=shell(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        touched = {
            "keys": (redis.keys(), redis.get(KEY)) != ([KEY], VALUE),
            "redis": _connections(redis) != before,
            # A connection that nobody accepts waits in the server's queue.
            **{name: bool(select.select([service], [], [], 0)[0]) for name, service in services.items()},
            "home": any(home.iterdir()),
        }
    stop_child(server)
    print(json.dumps({"status": ended.returncode, "output": ended.stdout, "touched": touched}))


def _connections(redis: Redis) -> int:
    return int(redis.info("stats")["total_connections_received"])


if __name__ == "__main__":
    main()
