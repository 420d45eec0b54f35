"""The services as a cluster runs them: replicas, a network that can fail, a runtime that restarts what ended."""

import json
import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil

from selfreward.processes.child import free_port
from selfreward.processes.stack import LocalStack
from tests.harness.chaos.proxy import Proxy

CUT_OFF = ("redis", "generator", "judge")
"""What the others reach through a proxy."""
_CHILDREN = {"engine": "vllm.entrypoints", "engine-core": "VLLM::EngineCore", "job": "services.trainer.job"}
_ENVIRONMENT = {
    # A killed replica's lease and work are to pass on in test time.
    "SELFREWARD_LEASE_S": "3",
    "SELFREWARD_CLAIM_AFTER_S": "3",
    "SELFREWARD_CLAIM_AFTER_SECONDS": "4",
    # Each kill of a trainer is an attempt that the job had no part in.
    "SELFREWARD_MAX_ATTEMPTS": "200",
}


class ChaosStack:
    """A LocalStack whose processes are found, killed, paused and started again. A context manager."""

    def __init__(self, folder: Path) -> None:
        ports = {name: free_port() for name in CUT_OFF}
        seen = {name: free_port() for name in CUT_OFF}
        self.proxies = {name: Proxy(seen[name], ports[name]) for name in CUT_OFF}
        environment = {
            **_ENVIRONMENT,
            "SELFREWARD_REDIS_URL": f"redis://127.0.0.1:{seen['redis']}/0",
            "SELFREWARD_GENERATOR_URL": f"http://127.0.0.1:{seen['generator']}",
            "SELFREWARD_JUDGE_URL": f"http://127.0.0.1:{seen['judge']}",
        }
        self.local = LocalStack(folder, ports, environment)
        self.paused: dict[int, float] = {}
        """Stopped processes by id, and when they go on (`time.monotonic`)."""
        self._restart_at: dict[str, float] = {}
        self._rng = random.Random(0)
        self._exits = ExitStack()

    def __enter__(self) -> "ChaosStack":
        for proxy in self.proxies.values():
            self._exits.enter_context(proxy)
        self._exits.enter_context(self.local)
        self.local.start_replica("orchestrator")
        self.local.start_replica("trainer")
        self.local.wait_healthy()
        return self

    def __exit__(self, *error: object) -> None:
        self.resume(everything=True)
        self._exits.close()

    def victim(self, target: str) -> psutil.Process | None:
        """The process that plays a part now: a service, `redis`, or a child (`engine`, `engine-core`, `job`)."""
        if target not in _CHILDREN:
            process = self.local.processes[target]
            return psutil.Process(process.pid) if process.poll() is None else None
        for name in ("trainer", "trainer-2") if target == "job" else ("generator",):
            parent = self.victim(name)
            for child in _descendants(parent) if parent else []:
                if _CHILDREN[target] in _command(child):
                    return child
        return None

    def pause(self, process: psutil.Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after this long."""
        process.suspend()
        self.paused[process.pid] = time.monotonic() + seconds

    def resume(self, everything: bool = False) -> None:
        """SIGCONT to those whose time has come."""
        for pid, until in list(self.paused.items()):
            if everything or time.monotonic() > until:
                del self.paused[pid]
                if psutil.pid_exists(pid):
                    psutil.Process(pid).resume()

    def supervise(self) -> None:
        """Start ended services again after a moment, as a container runtime does, and continue paused ones."""
        self.resume()
        for name, process in list(self.local.processes.items()):
            if process.poll() is None:
                continue
            due = self._restart_at.setdefault(name, time.monotonic() + self._rng.uniform(0.2, 1.0))
            if time.monotonic() >= due:
                del self._restart_at[name]
                self.local.start(name)

    def serving(self) -> bool:
        """Whether the generator takes requests."""
        return self._generator("/readyz") is not None

    def swapping(self) -> bool:
        """Whether the generator is between two versions."""
        weights = self._generator("/admin/weights")
        return weights is not None and weights.get("state") == "swapping"

    def _generator(self, path: str) -> dict[str, object] | None:
        try:
            answer = httpx.get(f"{self.local.urls['generator']}{path}", timeout=0.3)
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.is_success else None

    def publishing(self, run: str) -> bool:
        """Whether a checkpoint is being written."""
        weights = self.local.folder / "artifacts" / "runs" / run / "weights"
        return weights.is_dir() and any(name.startswith(".") for name in os.listdir(weights))

    def training(self) -> bool:
        """Whether a training job has done at least one step."""
        for progress in (self.local.folder / "work" / "train").glob("*/progress.json"):
            try:
                status = json.loads(progress.read_text())
            except (FileNotFoundError, ValueError):
                continue
            if status.get("state") == "running" and status.get("step", 0) > 0:
                return True
        return False


def _descendants(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return list(parent.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        # The keeper's own command line holds the engine's: it is no engine.
        words = process.cmdline()
        return "" if any(word.endswith("keeper.py") for word in words) else " ".join([process.name(), *words])
    except psutil.Error:
        return ""
