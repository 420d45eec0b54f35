"""Judges and orchestrators as processes on loopback, with a stand-in for their engine, and their CPU time."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen

import psutil

from bench.balancer import balanced
from bench.scaling import Cpu, Engine, Replicas
from bench.services import until_ready
from selfreward.processes.child import free_port, start_child, stop_child

_READY_S = 120.0


class Stack:
    """The processes by role. `redis` runs already and goes on running."""

    def __init__(self, folder: Path, redis: Popen[bytes]) -> None:
        self.folder = folder
        self.redis = redis
        self.processes: dict[str, list[Popen[bytes]]] = {"orchestrator": [], "judge": [], "engine": []}

    def start(self, role: str, command: list[str], environment: dict[str, str]) -> tuple[str, Path]:
        """Start a further process of a role. `command` follows Python's `-m`. Returns its address and its log."""
        processes = self.processes[role]
        log = self.folder / f"{role}-{len(processes)}.log"
        settings = {f"SELFREWARD_{name}": value for name, value in environment.items()}
        processes.append(start_child([sys.executable, "-m", *command], log, settings))
        return f"http://127.0.0.1:{environment['PORT']}", log

    def cpu(self) -> Cpu:
        """CPU seconds so far, by role. The rest is the engine, and this process with its balancer."""

        def seconds(*pids: int) -> float:
            return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))

        pids = {role: [process.pid for process in processes] for role, processes in self.processes.items()}
        rest = seconds(*pids["engine"], psutil.Process().pid)
        return Cpu(seconds(*pids["orchestrator"]), seconds(*pids["judge"]), seconds(self.redis.pid), rest)

    def stop(self) -> None:
        """Kill all processes. Nobody needs what they are working on."""
        for processes in self.processes.values():
            for process in processes:
                stop_child(process, grace=0)


@asynccontextmanager
async def running(
    folder: Path, redis: Popen[bytes], redis_url: str, engine: Engine, replicas: Replicas
) -> AsyncIterator[Stack]:
    """All services of one setting, ready. Raises RuntimeError with the end of its log when a service does not start."""
    stack = Stack(folder, redis)
    ports = [free_port() for _ in range(1 + replicas.judges + replicas.orchestrators)]
    shared = {"REDIS_URL": redis_url, "ARTIFACTS": str(folder / "artifacts"), "LOG_LEVEL": "WARNING"}
    options = {"port": ports[0], "first-token": engine.first_token, "token": engine.token}
    options |= {"sequences": replicas.engines * engine.sequences}
    command = ["bench.stand_in", *(f"--{name}={value}" for name, value in options.items())]
    try:
        url, _ = stack.start("engine", command, {"PORT": str(ports[0])})
        shared["GENERATOR_URL"] = url
        # The result cache is off, because a cached reply would cost the engine nothing.
        judge_settings = {"JUDGE_CACHE_SECONDS": "0", "JUDGE_CONCURRENCY": str(replicas.requests)}
        judges = ports[1 : 1 + replicas.judges]
        started = [
            stack.start("judge", ["services.judge"], {**shared, **judge_settings, "PORT": str(port)}) for port in judges
        ]
        async with balanced(judges) as judge:
            shared |= {"JUDGE_URL": f"http://127.0.0.1:{judge}", "WORKER_CONCURRENCY": str(replicas.prompts)}
            started += [
                stack.start("orchestrator", ["orchestrator"], {**shared, "PORT": str(port), "WORKER_NAME": str(port)})
                for port in ports[1 + replicas.judges :]
            ]
            for url, log in started:
                await until_ready(url, log, _READY_S)
            yield stack
            stack.stop()
    finally:
        stack.stop()
