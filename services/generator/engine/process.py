"""The vLLM child: how it is started, found healthy, noticed when it dies, and stopped with all that it started."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from selfreward.processes.child import kill_group, log_tail, reserve_port
from selfreward.server.background import cancel_and_wait
from services.generator.engine import keeper
from services.generator.engine.sockets import SocketFolder
from services.generator.settings import GeneratorSettings

SERVED_NAME = "policy"
_KEEPER = Path(keeper.__file__).resolve()
_IMPORT_ROOT = _KEEPER.parents[2]
_WORKER_EXTENSION = "services.generator.engine.reload_extension.WeightReload"
_LOOK_SECONDS = 1.0
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


Health = Literal["ok", "slow", "dead"]
"""`slow` gave no answer in time: not ready for traffic, but restarting a busy engine would make it worse."""


class EngineFailed(RuntimeError):
    """The engine did not start, ended, or refused a control call."""


def engine_command(settings: GeneratorSettings, folder: Path, port: int) -> list[str]:
    """The vLLM command line. Reads no pickles. Bound to loopback: its development routes run arbitrary worker calls."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    # Last, so that no other argument opens the engine to the network.
    return [*command, *_arguments(settings), "--host", "127.0.0.1", "--port", str(port)]


def node_command(settings: GeneratorSettings) -> list[str]:
    """The vLLM command line of the nodes after the first: workers of the engine there, and no server of their own."""
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(settings.model), "--headless"]
    return [*command, *_arguments(settings)]


def _arguments(settings: GeneratorSettings) -> list[str]:
    """What all nodes of an engine are told alike, but for which of them each is."""
    command = ["--served-model-name", SERVED_NAME, "--load-format", "safetensors"]
    # Sampling defaults of the checkpoint would make an unset temperature depend on the version served.
    command += ["--generation-config", "vllm", "--max-num-seqs", str(settings.engine_max_num_seqs)]
    command += ["--worker-extension-cls", _WORKER_EXTENSION]
    command += ["--uvicorn-log-level", "warning", "--disable-uvicorn-access-log"]
    if settings.engine_max_model_len is not None:
        command += ["--max-model-len", str(settings.engine_max_model_len)]
    if settings.engine == "cpu":
        # With chunked prefill one seeded request in a burst ends the CPU engine ("CPU Generator does not use offset").
        command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "16384", "--enforce-eager"]
        command += ["--distributed-executor-backend", "uni"]
    command += ["--dtype", settings.engine_dtype or ("float32" if settings.engine == "cpu" else "auto")]
    if settings.engine_nodes > 1:
        command += ["--nnodes", str(settings.engine_nodes), "--node-rank", str(settings.engine_node_rank)]
        command += ["--master-addr", settings.engine_leader]
    return [*command, *settings.engine_args]


def engine_environment(settings: GeneratorSettings, inherited: Mapping[str, str], sockets: str) -> dict[str, str]:
    """The engine's environment: the inherited one without our own settings and secrets, and vLLM's switches.

    `sockets` is the folder of its sockets.
    """
    ours = ("SELFREWARD_", "AWS_")
    environment = {name: value for name, value in inherited.items() if not name.startswith(ours)}
    environment |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    environment["VLLM_RPC_BASE_PATH"] = sockets
    environment.setdefault("VLLM_LOG_STATS_INTERVAL", "600")
    # For the worker extension: the engine does not run in the folder that these packages are imported from.
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_IMPORT_ROOT), inherited.get("PYTHONPATH")]))
    if settings.engine == "cpu":
        environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        # Scheduler and model in one process: as two they spin while they wait for each other, on cores that the other
        # services need. vLLM takes the `uni` executor on a CPU only with this, and leaves its OpenMP threads to us.
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        environment.setdefault("OMP_NUM_THREADS", str(model_threads(len(os.sched_getaffinity(0)))))
    return environment | settings.engine_env


def model_threads(cores: int) -> int:
    """Threads of the model: one for each core but one, which is left to the services and the engine's server."""
    return max(1, cores - 1)


class EngineProcess:
    """One engine on one checkpoint folder; never restarted, replaced by another."""

    def __init__(self, settings: GeneratorSettings, folder: Path, http: httpx.AsyncClient) -> None:
        self.folder = folder.resolve()
        self._reservation = reserve_port()
        self.port = int(self._reservation.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = settings.work_dir / "engine.log"
        self._settings = settings
        self._http = http
        self._process: asyncio.subprocess.Process | None = None
        self._sockets: SocketFolder | None = None

    @property
    def alive(self) -> bool:
        """The process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the engine and return once it is healthy. Raises EngineFailed with the end of its log."""
        settings = self._settings
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        self._sockets = SocketFolder(settings.work_dir)
        command = [sys.executable, str(_KEEPER), str(settings.engine_stop_seconds)]
        with self.log.open("ab") as stream:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *engine_command(settings, self.folder, self.port),
                stdin=asyncio.subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                cwd=settings.work_dir,
                env=engine_environment(settings, os.environ, self._sockets.name),
                start_new_session=True,
            )
        _log.info("engine starting", extra={"pid": self._process.pid, "port": self.port, "folder": str(self.folder)})
        try:
            async with asyncio.timeout(settings.engine_start_seconds):
                await self._until_healthy()
        except TimeoutError:
            await self.stop()
            seconds = settings.engine_start_seconds
            raise EngineFailed(
                f"engine not healthy after {seconds:g} s; raise engine_start_seconds or see {self.log}: "
                f"{log_tail(self.log)}"
            ) from None

    async def _until_healthy(self) -> None:
        while await self.health() != "ok":
            if not self.alive:
                raise EngineFailed(
                    f"engine ended while starting on {self.folder}; see {self.log}: {log_tail(self.log)}"
                )
            await asyncio.sleep(0.2)

    async def health(self) -> Health:
        """Whether the process is up and its `/health` says that the engine core lives."""
        if not self.alive:
            return "dead"
        try:
            return "ok" if (await self._http.get(f"{self.url}/health", timeout=10)).is_success else "dead"
        except httpx.TimeoutException:
            return "slow"
        except httpx.TransportError:
            return "dead"

    async def while_alive(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        """What `work` gives. EngineFailed once the engine is dead: its server leaves calls to a dead core open."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                if await self.health() == "dead":
                    raise EngineFailed("the engine died")
            return task.result()
        finally:
            await cancel_and_wait([task])

    async def ended(self) -> None:
        """Wait until the process ends, and clear away what it may have left behind."""
        if self._process is not None:
            await self._process.wait()
            kill_group(self._process.pid)
        self._leave()

    async def stop(self) -> None:
        """Stop the engine and all its workers; returns when they are gone."""
        if self._process is None:
            self._leave()
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(self._settings.engine_stop_seconds + 5):
                await self._process.wait()
        except TimeoutError:
            _log.warning("engine ignored its keeper and is killed", extra={"pid": self._process.pid})
        kill_group(self._process.pid)
        await self._process.wait()
        self._leave()

    def _leave(self) -> None:
        """Give back its port and its sockets."""
        self._reservation.close()
        if self._sockets is not None:
            self._sockets.remove()
