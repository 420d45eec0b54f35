"""A real judge as a process of its own, under requests that are never finished (docs/security.md)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from selfreward.processes.child import free_port, start_child, stop_child
from tests.support.access import keys_file
from tests.support.places import ROOT

MIB = 1 << 20


@dataclass(frozen=True)
class Judge:
    """A judge that asks for a key."""

    port: int
    process: subprocess.Popen[bytes]

    def memory(self) -> int:
        """Bytes in memory."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def healthy(self) -> float:
        """Seconds until `/healthz` answers."""
        began = time.monotonic()
        with httpx.Client(timeout=20, trust_env=False) as client:
            assert client.get(f"http://127.0.0.1:{self.port}/healthz").status_code == 200
        return time.monotonic() - began


@pytest.fixture
def judge(redis_url: str, tmp_path: Path) -> Iterator[Judge]:
    port = free_port()
    environment = {
        "SELFREWARD_PORT": str(port),
        "SELFREWARD_REDIS_URL": redis_url,
        "SELFREWARD_KEYS": str(keys_file(tmp_path, alice="")),
        "SELFREWARD_JUDGE_ENGINE_URL": f"http://127.0.0.1:{free_port()}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    # The usual soft limit of descriptors, which the service raises.
    command = ["/bin/sh", "-c", f"ulimit -Sn 1024; exec {sys.executable} -m services.judge"]
    process = start_child(command, tmp_path / "judge.log", environment)
    try:
        judge, deadline = Judge(port, process), time.monotonic() + 120
        while True:
            with suppress(httpx.TransportError):
                judge.healthy()
                break
            assert process.poll() is None, (tmp_path / "judge.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield judge
    finally:
        stop_child(process)


def test_headers_without_end_take_no_memory(judge: Judge) -> None:
    """100 MiB of them took 1.3 GB."""
    before = judge.memory()
    with judge.connect() as connection, suppress(ConnectionError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
        for number in range(100 * 1024):
            connection.sendall(b"x-%d: " % number + b"y" * 1000 + b"\r\n")
    judge.healthy()
    assert judge.memory() - before < 20 * MIB


def test_half_sent_requests_silence_nobody(judge: Judge) -> None:
    """1,100 of them did, at the usual 1,024 descriptors. Nothing of their bodies is read without a key."""
    begun = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    with ExitStack() as held:
        for _ in range(1100):
            held.enter_context(judge.connect()).sendall(begun)
        assert judge.healthy() < 10


def test_unfinished_bodies_of_a_key_have_a_budget(judge: Judge) -> None:
    """70 of 15.9 MiB took 1.4 GB. Those for which there is no room are refused before they are read."""
    before, length = judge.memory(), 15 * MIB
    head = b"POST /v1/judge HTTP/1.1\r\nhost: x\r\nauthorization: Bearer alice\r\n"
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % length
    refused = 0
    with ExitStack() as held:
        for _ in range(70):
            connection = held.enter_context(judge.connect())
            connection.sendall(head)
            connection.settimeout(0.3)
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                # It waits for the body: give it all but the end.
                connection.settimeout(20)
                connection.sendall(b" " * (length - 1))
            else:
                refused += b" 429 " in answer.splitlines()[0] + b" "
        assert refused == 70 - 4
        assert judge.memory() - before < 130 * MIB
        judge.healthy()
