"""The vLLM child process: its command and environment, its start, its health, and its end."""

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
from selfreward.server.cpu import computes_bf16
from selfreward.server.health import Probe
from services.generator.checkpoints.checkpoint import served_dtype
from services.generator.engine import keeper
from services.generator.engine.sockets import SocketFolder
from services.generator.settings import GeneratorSettings

SERVED_NAME = "policy"
_KEEPER = Path(keeper.__file__).resolve()
_IMPORT_ROOT = _KEEPER.parents[3]
_NUCLEUS = "services.generator.engine.nucleus:Nucleus"
_WORKER_EXTENSION = "services.generator.engine.reload_extension.WeightReload"
_LOOK_SECONDS = 1.0
_HEALTH_SECONDS = 10.0
# vLLM closes connections that were idle for 5 s.
_KEPT_SECONDS = 4.0
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


Health = Literal["ok", "slow", "dead"]
"""`slow`: the engine gave no answer in time, or could not be asked. It is not ready for traffic, but a restart would
make that worse."""


class EngineFailed(RuntimeError):
    """The engine did not start, ended, or refused a control call."""


def engine_command(settings: GeneratorSettings, folder: Path, port: int) -> list[str]:
    """The vLLM command line, which reads no pickles and listens on loopback: development routes run any worker call."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    # Last, so that no other argument opens the engine to the network.
    return [*command, *_arguments(settings, folder), "--host", "127.0.0.1", "--port", str(port)]


def node_command(settings: GeneratorSettings) -> list[str]:
    """The vLLM command line of the later nodes: workers of the first node's engine, without a server."""
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(settings.model), "--headless"]
    return [*command, *_arguments(settings, settings.model)]


def _arguments(settings: GeneratorSettings, folder: Path | None) -> list[str]:
    """The arguments of all nodes of an engine; only their rank differs."""
    command = ["--served-model-name", SERVED_NAME, "--load-format", "safetensors"]
    # Sampling defaults of the checkpoint would make an unset temperature depend on the version served.
    command += ["--generation-config", "vllm", "--max-num-seqs", str(settings.engine_max_num_seqs)]
    command += ["--worker-extension-cls", _WORKER_EXTENSION]
    # By default vLLM takes another library for whatever this one does not know, and keeps to that one from then on.
    command += ["--structured-outputs-config", '{"backend": "xgrammar"}']
    command += ["--uvicorn-log-level", "warning", "--disable-uvicorn-access-log"]
    if settings.engine_max_model_len is not None:
        command += ["--max-model-len", str(settings.engine_max_model_len)]
    if settings.engine == "cpu":
        # With chunked prefill one seeded request in a burst ends the CPU engine ("CPU Generator does not use offset").
        command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", "16384", "--enforce-eager"]
        command += ["--distributed-executor-backend", "uni"]
    if has_own_nucleus(settings):
        command += ["--logits-processors", _NUCLEUS]
    command += ["--dtype", settings.engine_dtype or _dtype(settings, folder)]
    if settings.engine_nodes > 1:
        command += ["--nnodes", str(settings.engine_nodes), "--node-rank", str(settings.engine_node_rank)]
        command += ["--master-addr", settings.engine_leader]
    return [*command, *settings.engine_args]


def _dtype(settings: GeneratorSettings, folder: Path | None) -> str:
    """vLLM's `--dtype` where the settings leave it open."""
    if settings.engine == "gpu":
        return "auto"
    half = folder is not None and served_dtype(folder) in ("bfloat16", "float16")
    return "bfloat16" if half and computes_bf16() else "float32"


def has_own_nucleus(settings: GeneratorSettings) -> bool:
    """Whether the engine samples `top_p` by our processor: on a CPU, unless `engine_args` name other processors."""
    others = any(argument.startswith("--logits-processors") for argument in settings.engine_args)
    return settings.engine == "cpu" and not others


def engine_environment(settings: GeneratorSettings, inherited: Mapping[str, str], sockets: str) -> dict[str, str]:
    """The engine's environment: `inherited` without our settings and secrets, vLLM's switches, and `engine_env`.

    `sockets` is the folder of the engine's sockets.
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
        # Scheduler and model run in one process: as two they spin while they wait for each other, on cores that the
        # other services need. Only so does vLLM take the `uni` executor on a CPU and leave its OpenMP threads to us.
        environment |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
        environment.setdefault("OMP_NUM_THREADS", str(model_threads(len(os.sched_getaffinity(0)))))
        # Idle threads sleep: spinning ones take the core from whatever else the machine runs, the services included.
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # vLLM ranks log-probabilities by a function that torch compiles even in eager mode, which takes a C++ compiler.
        environment.setdefault("TORCHDYNAMO_DISABLE", "1")
    return environment | settings.engine_env


def model_threads(cores: int) -> int:
    """Threads of the model: one for each core but one, which the services and the engine's server need."""
    return max(1, cores - 1)


class EngineProcess:
    """One engine, started on one checkpoint folder. It is never restarted: another one replaces it."""

    def __init__(self, settings: GeneratorSettings, folder: Path) -> None:
        self.folder = folder.resolve()
        self._reservation = reserve_port()
        self.port = int(self._reservation.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = settings.work_dir / "engine.log"
        self._settings = settings
        # One connection for all questions about health, kept open while they are asked each second: it needs no new
        # descriptor at a moment when there is none.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_KEPT_SECONDS)
        self._http = httpx.AsyncClient(limits=limits, trust_env=False, timeout=_HEALTH_SECONDS)
        self._asked = Probe(self._ask_health, seconds=0)
        self._process: asyncio.subprocess.Process | None = None
        self._sockets: SocketFolder | None = None

    @property
    def alive(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the engine and return when it is healthy. Raises EngineFailed with the end of its log."""
        # The keeper stops the engine with all its workers when this process ends, however that ends.
        settings = self._settings
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        self._sockets = SocketFolder(settings.work_dir)
        command = [sys.executable, str(_KEEPER), str(settings.engine_stop_seconds)]
        arguments = engine_command(settings, self.folder, self.port)
        with self.log.open("ab") as stream:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                cwd=settings.work_dir,
                env=engine_environment(settings, os.environ, self._sockets.name),
                start_new_session=True,
            )
        dtype = arguments[len(arguments) - arguments[::-1].index("--dtype")]  # the last one wins
        started = {"pid": self._process.pid, "port": self.port, "folder": str(self.folder), "dtype": dtype}
        _log.info("engine starting", extra=started)
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
        """How the engine is. Callers at the same time share one question."""
        return await self._asked.result() if self.alive else "dead"

    async def _ask_health(self) -> Health:
        """`dead` only where the engine says so: by its end, by 503, or by a closed port.

        Any other failure may be one of this process, such as a lack of descriptors.
        """
        try:
            status = (await self._http.get(f"{self.url}/health")).status_code
        except httpx.TransportError as error:
            return "dead" if not self.alive or is_refusal(error) else "slow"
        if status == httpx.codes.SERVICE_UNAVAILABLE:
            return "dead"
        return "ok" if status == httpx.codes.OK else "slow"

    async def while_alive(self, work: Coroutine[Any, Any, Reply]) -> Reply:
        """The result of `work`. EngineFailed when the engine dies: its server leaves calls to a dead core open."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                if await self.health() == "dead":
                    raise EngineFailed("the engine died")
            return task.result()
        finally:
            await cancel_and_wait([task])

    async def ended(self) -> None:
        """Wait until the process ends, then clear away what it has left behind."""
        if self._process is not None:
            await self._process.wait()
            kill_group(self._process.pid)
        await self._release()

    async def stop(self) -> None:
        """Stop the engine and all its workers; return when they are gone."""
        if self._process is None:
            await self._release()
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
        await self._release()

    async def _release(self) -> None:
        """Give back the port, close the connection and remove the sockets."""
        await self._http.aclose()
        self._reservation.close()
        if self._sockets is not None:
            self._sockets.remove()


def is_refusal(error: BaseException | None) -> bool:
    """Whether an error of a client comes from a port at which nobody listens."""
    while error is not None and not isinstance(error, ConnectionRefusedError):
        error = error.__cause__ or error.__context__
    return error is not None
