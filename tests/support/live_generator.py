"""A real gateway process with a real vLLM child."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from selfreward.processes.child import free_port
from selfreward.redis.announcements import Announced, announce
from selfreward.redis.connection import connect
from tests.support.places import ROOT

_STARTS_WITHIN = 290


@dataclass(frozen=True)
class Generator:
    """A running generator service. It follows announcements in `redis_url` and fetches from `artifacts`."""

    url: str
    redis_url: str
    artifacts: str
    work_dir: Path
    model: Path
    pid: int
    http: httpx.Client

    def weights(self) -> dict[str, Any]:
        """`GET /admin/weights`."""
        answer: dict[str, Any] = self.http.get("/admin/weights").raise_for_status().json()
        return answer

    def wait_for(self, label: str, seconds: float = 180) -> None:
        """Return once `label` is served; AssertionError with the status when it is refused or takes too long."""
        deadline = time.monotonic() + seconds
        status = self.weights()
        while status["label"] != label or status["state"] != "serving":
            digest = (status["announced"] or {}).get("digest")
            refused = [entry for entry in status["refused"] if (entry["label"], entry["digest"]) == (label, digest)]
            assert not refused, refused
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
            status = self.weights()

    def ready(self) -> bool:
        """Whether `/readyz` answers 200."""
        try:
            return self.http.get("/readyz").is_success
        except httpx.TransportError:
            return False


@contextmanager
def running_generator(
    redis_url: str, model: Path, folder: Path, descriptors: int | None = None, **changes: str
) -> Iterator[Generator]:
    """A generator that serves `model`. It may have `descriptors` open; `changes` are settings, named in capitals."""
    port = free_port()
    settings = {
        "REDIS_URL": redis_url,
        "ARTIFACTS": str(folder / "artifacts"),
        "WORK_DIR": str(folder / "work"),
        "MODEL": str(model),
        "PORT": str(port),
        "POLL_SECONDS": "0.1",
        "SWAP_WAIT_SECONDS": "2.5",
        "QUEUE_SECONDS": "230",  # an engine that starts on a busy machine takes minutes
        "SWAP_ABORT_SECONDS": "90",  # a busy machine takes its time; what is tested is that they end, not how fast
    } | changes
    environment = os.environ | {f"SELFREWARD_{name}": value for name, value in settings.items()}
    log = folder / "gateway.log"

    def limited() -> None:
        if descriptors is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    with log.open("wb") as stream:
        command = [sys.executable, "-m", "services.generator"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, preexec_fn=limited)
    running = Generator(
        url=f"http://127.0.0.1:{port}",
        redis_url=redis_url,
        artifacts=settings["ARTIFACTS"],
        work_dir=folder / "work",
        model=model,
        pid=process.pid,
        http=httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False),
    )
    try:
        deadline = time.monotonic() + _STARTS_WITHIN
        while not running.ready():
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield running
    finally:
        running.http.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def engine_core(generator: Generator) -> int:
    """Process id of vLLM's engine core below the gateway."""
    listing = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout  # noqa: S607 - where PATH has it
    children: dict[int, list[int]] = {}
    for line in listing.splitlines()[1:]:
        pid, parent = map(int, line.split())
        children.setdefault(parent, []).append(pid)
    below, waiting = [], [generator.pid]
    while waiting:
        waiting = [child for parent in waiting for child in children.get(parent, [])]
        below += waiting
    return next(pid for pid in below if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes())


def announce_now(generator: Generator, name: str, digest: str) -> Announced:
    async def run() -> Announced:
        redis = connect(generator.redis_url)
        try:
            return await announce(redis, name, digest)
        finally:
            await redis.aclose()

    return asyncio.run(run())
