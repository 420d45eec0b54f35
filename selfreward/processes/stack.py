"""The whole stack as local processes: Redis, generator, judge, trainer, orchestrator. It needs no Docker and no GPU."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import httpx

from selfreward.processes.child import free_port, log_tail, start_child, stop_child
from selfreward.processes.redis import start_redis

SERVICES = ("generator", "judge", "trainer", "orchestrator")
_MODULES = {name: f"services.{name}" for name in SERVICES} | {"orchestrator": "orchestrator"}


@dataclass
class LocalStack:
    """Processes, their addresses, and their logs below `folder`. It is a context manager: leaving it stops all of them.

    `ports` fixes ports by the name of a service or `redis`; the others are free ones. `environment` is added to the
    environment of every service.
    """

    folder: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, Popen[bytes]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    _environments: dict[str, dict[str, str]] = field(default_factory=dict)
    _redis_port: int = 0

    def __enter__(self) -> "LocalStack":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        chosen = {name: self.ports.get(name) or free_port() for name in ("redis", *SERVICES)}
        self._redis_port = chosen["redis"]
        self.start("redis")
        self.urls = {name: f"http://127.0.0.1:{chosen[name]}" for name in SERVICES}
        self.urls["redis"] = f"redis://127.0.0.1:{chosen['redis']}/0"
        shared = {
            "SELFREWARD_REDIS_URL": self.urls["redis"],
            "SELFREWARD_ARTIFACTS": str((self.folder / "artifacts").resolve()),
            "SELFREWARD_GENERATOR_URL": self.urls["generator"],
            "SELFREWARD_JUDGE_URL": self.urls["judge"],
            "SELFREWARD_ORCHESTRATOR_URL": self.urls["orchestrator"],
            "SELFREWARD_WORK_DIR": str((self.folder / "work").resolve()),
            **self.environment,
        }
        for name in SERVICES:
            self._environments[name] = {**shared, "SELFREWARD_PORT": str(chosen[name])}
            self.start(name)

    def start(self, name: str) -> None:
        """Start a service, a replica or `redis` at its address, for the first time or after its process has ended."""
        if name == "redis":
            self.processes[name] = start_redis(self.folder / "redis", self._redis_port)
            return
        command = [sys.executable, "-m", _MODULES[name.partition("-")[0]]]
        self.processes[name] = start_child(command, self.log(name), self._environments[name])

    def start_replica(self, service: str) -> str:
        """Start one more process of a service, at an address of its own; returns the replica's name."""
        name, port = f"{service}-{sum(known.startswith(service) for known in self.urls) + 1}", free_port()
        self.urls[name] = f"http://127.0.0.1:{port}"
        # The queue tells consumers apart by their names, which are the host's by default.
        own = {"SELFREWARD_PORT": str(port), "SELFREWARD_WORKER_NAME": name, "SELFREWARD_CONSUMER": name}
        self._environments[name] = {**self._environments[service], **own}
        self.start(name)
        return name

    def log(self, name: str) -> Path:
        """Log file of a service."""
        return self.folder / "logs" / f"{name}.log"

    def check(self) -> None:
        """Raise RuntimeError with the end of its log when a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                tail = log_tail(self.log(name))
                raise RuntimeError(f"{name} ended with status {process.returncode}; {self.log(name)} ends:\n{tail}")

    def wait_healthy(self, timeout: float = 120.0, report: Callable[[str], None] = lambda _: None) -> None:
        """Wait until every service answers `/healthz`, and call `report(name)` when one does.

        Raises RuntimeError after `timeout` seconds, or when a process has ended.
        """
        deadline = time.monotonic() + timeout
        waiting = list(SERVICES)
        while waiting:
            self.check()
            for name in [name for name in waiting if _healthy(self.urls[name])]:
                waiting.remove(name)
                report(name)
            if waiting and time.monotonic() > deadline:
                tails = "\n".join(f"{name}: {log_tail(self.log(name), 500)}" for name in waiting)
                raise RuntimeError(f"{', '.join(waiting)} not healthy after {timeout:g} s:\n{tails}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the services first and Redis last, so that they can still give their work back."""
        for name in reversed(list(self.processes)):
            stop_child(self.processes.pop(name))


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False
