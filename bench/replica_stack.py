"""Judges and orchestrators as processes on loopback, before a stand-in engine, and what they cost in CPU time."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen

import psutil

from bench.balancer import balanced
from bench.judge import until_ready
from bench.scaling import Cpu, Engine, Replicas
from selfreward.processes.child import free_port, start_child, stop_child

_READY_S = 120.0


class Stack:
    """The processes by role. `redis` runs already, and is left running."""

    def __init__(self, folder: Path, redis: Popen[bytes]) -> None:
        self.folder = folder
        self.redis = redis
        self.processes: dict[str, list[Popen[bytes]]] = {"orchestrator": [], "judge": [], "engine": []}

    def start(self, role: str, command: list[str], environment: dict[str, str]) -> tuple[str, Path]:
        """Start one process more of a role; `command` follows Python's `-m`. Where it will listen, and its log."""
        known = self.processes[role]
        log = self.folder / f"{role}-{len(known)}.log"
        settings = {f"SELFREWARD_{name}": value for name, value in environment.items()}
        known.append(start_child([sys.executable, "-m", *command], log, settings))
        return f"http://127.0.0.1:{environment['PORT']}", log

    def cpu(self) -> Cpu:
        """CPU seconds so far, by role; the rest is the engine, and this process with its balancer."""

        def seconds(*pids: int) -> float:
            return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))

        own = {role: [process.pid for process in known] for role, known in self.processes.items()}
        rest = seconds(*own["engine"], psutil.Process().pid)
        return Cpu(seconds(*own["orchestrator"]), seconds(*own["judge"]), seconds(self.redis.pid), rest)

    def stop(self) -> None:
        """Kill them all: what they have in hand is of no use to anybody."""
        for known in self.processes.values():
            for process in known:
                stop_child(process, grace=0)


@asynccontextmanager
async def running(
    folder: Path, redis: Popen[bytes], redis_url: str, engine: Engine, there: Replicas
) -> AsyncIterator[Stack]:
    """All services of one setting, ready. RuntimeError with the end of a log when one does not get so far."""
    stack = Stack(folder, redis)
    ports = [free_port() for _ in range(1 + there.judges + there.orchestrators)]
    shared = {"REDIS_URL": redis_url, "ARTIFACTS": str(folder / "artifacts"), "LOG_LEVEL": "WARNING"}
    options = {"port": ports[0], "first-token": engine.first_token, "token": engine.token}
    options |= {"sequences": there.engines * engine.sequences}
    command = ["bench.stand_in", *(f"--{name}={value}" for name, value in options.items())]
    try:
        url, _ = stack.start("engine", command, {"PORT": str(ports[0])})
        shared["GENERATOR_URL"] = url
        # An answer that is kept would cost no engine.
        own = {"JUDGE_CACHE_SECONDS": "0", "JUDGE_CONCURRENCY": str(there.requests)}
        judges = ports[1 : 1 + there.judges]
        started = [stack.start("judge", ["services.judge"], {**shared, **own, "PORT": str(port)}) for port in judges]
        async with balanced(judges) as judge:
            shared |= {"JUDGE_URL": f"http://127.0.0.1:{judge}", "WORKER_CONCURRENCY": str(there.prompts)}
            started += [
                stack.start("orchestrator", ["orchestrator"], {**shared, "PORT": str(port), "WORKER_NAME": str(port)})
                for port in ports[1 + there.judges :]
            ]
            for url, log in started:
                await until_ready(url, log, _READY_S)
            yield stack
            stack.stop()
    finally:
        stack.stop()
