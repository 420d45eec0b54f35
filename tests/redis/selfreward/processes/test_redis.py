"""The Redis of the local stack: it outlasts Ctrl-C, so that services can say goodbye to it, and not its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from selfreward.processes.child import free_port
from selfreward.processes.redis import start_redis

PARENT = """
import signal, sys, time
from pathlib import Path
from selfreward.processes.redis import start_redis
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit an ignored one
start_redis(Path(sys.argv[1]), int(sys.argv[2]))
try:
    print("started", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    time.sleep(60)
"""


def answers(port: int) -> bool:
    with Redis(port=port, socket_timeout=5) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


def test_ctrl_c_leaves_it_to_its_parent_and_it_ends_with_its_parent(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == "started\n"
            os.killpg(parent.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
            assert parent.stdout.readline() == "interrupted\n"
            time.sleep(0.5)
            assert answers(port)
        finally:
            parent.kill()
    deadline = time.monotonic() + 20
    while answers(port):
        assert time.monotonic() < deadline, "Redis outlives its parent"
        time.sleep(0.05)


def test_one_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"did not start on port \d+: .*Bad directive.*; all of its log is in "):
        start_redis(tmp_path, free_port(), "--no-such-directive", "1")


def test_another_redis_on_its_port_is_not_taken_for_it(redis_url: str, tmp_path: Path) -> None:
    port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    with pytest.raises(RuntimeError, match=f"did not start on port {port}: "):
        start_redis(tmp_path, port)
    assert answers(port)
