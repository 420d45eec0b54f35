"""The whole stack as local processes: Redis, generator, judge, trainer, orchestrator. It needs no Docker and no GPU."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import httpx

from selfreward.processes.child import free_port, is_free, last_line, start_child, stop_child
from selfreward.processes.redis import start_redis
from selfreward.processes.stack_file import StackError, StackFile
from selfreward.settings import Settings, key_of

SERVICES = ("generator", "judge", "trainer", "orchestrator")
PORTS = {"redis": 6379, "generator": 8000, "judge": 8001, "orchestrator": 8002, "trainer": 8003}
"""The port of each part where nothing else has it."""
_MODULES = {name: f"services.{name}" for name in SERVICES} | {"orchestrator": "orchestrator"}
_FAILED = "nothing could be served yet: "
"""What the generator's `/readyz` says before the reason for which its first engine did not start."""


def choose_ports(asked: Mapping[str, int]) -> dict[str, int]:
    """A port for each part: the one asked for, else its own, else a free one.

    Raises StackError for a part that does not exist, and for a port asked for that another program has.
    """
    for name, port in asked.items():
        if name not in PORTS:
            raise StackError(f"--port {name}={port}: {name!r} is none of {', '.join(PORTS)}")
        if not is_free(port):
            raise StackError(f"--port {name}={port}: another program has the port; give another, or leave it out")
    if len(set(asked.values())) < len(asked):
        raise StackError(f"--port {' '.join(f'{name}={port}' for name, port in asked.items())}: give each its own port")
    taken = set(asked.values())
    own = {name: port for name, port in PORTS.items() if port not in taken and is_free(port)}
    return {name: asked.get(name) or own.get(name) or free_port() for name in PORTS}


@dataclass
class LocalStack:
    """Processes, their addresses, and their logs below `folder`. It is a context manager: leaving it stops all of them.

    `ports` fixes ports by the name of a service or `redis`; the others are free ones. `environment` is added to the
    environment of every service. With `redis_url` that Redis is used, and none is started.

    Entering it raises StackError if another stack has the folder.
    """

    folder: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    redis_url: str | None = None
    processes: dict[str, Popen[bytes]] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    _environments: dict[str, dict[str, str]] = field(default_factory=dict)
    _redis_port: int = 0
    _file: StackFile | None = None

    def __enter__(self) -> "LocalStack":
        self._file = StackFile(self.folder)
        try:
            self._start(self._file)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, file: StackFile) -> None:
        chosen = {name: self.ports.get(name) or free_port() for name in ("redis", *SERVICES)}
        self.urls = {name: f"http://127.0.0.1:{chosen[name]}" for name in SERVICES}
        self.urls["redis"] = self.redis_url or f"redis://127.0.0.1:{chosen['redis']}/0"
        file.write(self.urls)
        if self.redis_url is None:
            self._redis_port = chosen["redis"]
            self.start("redis")
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
            self.processes[name] = start_redis(self.folder / "redis", self._redis_port, log=self.log(name))
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
        """Raise StackError with the last line of its log when a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise StackError(
                    f"{name} ended with status {process.returncode}: {last_line(self.log(name))}; all of its log is in "
                    f"{self.log(name)}"
                )

    def wait_healthy(self, timeout: float = 120.0, report: Callable[[str], None] = lambda _: None) -> None:
        """Wait until every service answers `/healthz`, and call `report(name)` when one does.

        Raises StackError after `timeout` seconds, or when a process has ended.
        """
        deadline = time.monotonic() + timeout
        waiting = list(SERVICES)
        while waiting:
            self.check()
            for name in [name for name in waiting if _healthy(self.urls[name])]:
                waiting.remove(name)
                report(name)
            if waiting and time.monotonic() > deadline:
                tails = "; ".join(f"{name}: {last_line(self.log(name))}" for name in waiting)
                raise StackError(
                    f"not healthy after {timeout:g} s: {tails}; the logs are in {self.log(waiting[0]).parent}"
                )
            time.sleep(0.1)

    def wait_serving(self, timeout: float = 1200.0) -> None:
        """Wait until the generator's engine serves.

        Raises StackError with the reason when the engine does not start on its model, when a process has ended, or
        after `timeout` seconds, which is longer than the generator gives its engine.
        """
        deadline = time.monotonic() + timeout
        # Only to a key the generator says why it is not ready.
        key = key_of(Settings())
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        while True:
            self.check()
            try:
                answer = httpx.get(f"{self.urls['generator']}/readyz", headers=headers, timeout=30)
                reasons = [] if answer.is_success else list(answer.json()["reasons"])
            except httpx.TransportError as error:
                reasons = [str(error)]
            if not reasons:
                return
            if time.monotonic() > deadline:
                raise StackError(f"the generator serves nothing after {timeout:g} s; see {self.log('generator')}")
            if reasons[0].startswith(_FAILED):
                raise StackError(f"the generator serves nothing: {_gist(reasons[0].removeprefix(_FAILED))}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Stop the services first and Redis last, so that they can still give their work back."""
        for name in reversed(list(self.processes)):
            stop_child(self.processes.pop(name))
        if self._file is not None:
            self._file.close()
            self._file = None


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2).is_success
    except httpx.TransportError:
        return False


def _gist(text: str) -> str:
    """The first line, and of a log that follows it the last line that names an error."""
    first, *log = text.strip().splitlines()
    errors = [line.strip() for line in log if "Error" in line]
    return f"{first} ... {errors[-1]}" if errors else first
