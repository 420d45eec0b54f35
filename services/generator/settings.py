"""Settings of the generator service, from the environment (`SELFREWARD_*`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from selfreward.settings import Settings

DEFAULT_PORT = 8000


class GeneratorSettings(Settings):
    """What one replica serves, how its engine starts, and the limits that protect it."""

    model: Path | None = None
    """Checkpoint folder served before the first announcement; unset: wait for the first announcement."""
    work_dir: Path = Path("runs/generator")
    """Where the engine runs: `engine.log`, and Unix sockets, which not every file system supports. May be shared."""
    artifact_cache: Path | None = None
    """Where checkpoints of a remote artifact store are copied to."""

    engine: Literal["cpu", "gpu"] = "cpu"
    """Chooses the defaults of dtype, flags and environment in `engine_command`."""
    engine_dtype: str | None = None
    """vLLM `--dtype`; by default that of the checkpoint's config.json on a GPU. On a CPU bfloat16 where that is half
    precision and the CPU has AMX or avx512_bf16, else float32, since bf16 is slow without them."""
    engine_args: list[str] = []
    """Further vLLM arguments (a JSON list); they win, except for host and port."""
    engine_env: dict[str, str] = {}
    """Further environment of the engine (a JSON object), for example `OMP_NUM_THREADS`."""
    engine_nodes: int = Field(default=1, ge=1)
    """Machines that one engine spans (vLLM's `--nnodes`); `engine_args` say how, for example
    `["--tensor-parallel-size", "8", "--pipeline-parallel-size", "2"]` for two of eight GPUs. All of them must see
    `model`, on which the engine starts, and the artifacts, whose weights it then loads."""
    engine_node_rank: int = Field(default=0, ge=0)
    """Rank of this machine. Rank 0 serves; the others run `python -m services.generator.engine.node`."""
    engine_leader: str = "127.0.0.1"
    """Address of the machine of rank 0."""
    engine_max_num_seqs: int = Field(default=256, ge=1)
    engine_max_model_len: int | None = Field(default=None, ge=8)
    engine_start_seconds: float = Field(default=900, gt=0)
    """How long a starting engine may take until it is healthy."""
    engine_stop_seconds: float = Field(default=5, gt=0)
    """How long a stopping engine may take until it is killed."""
    engine_admin_seconds: float = Field(default=30, gt=0)
    """Deadline of each control call to the engine, except for the reload."""

    poll_seconds: float = Field(default=0.5, gt=0)
    """How often the announced version is read."""
    swap_wait_seconds: float = Field(default=120, ge=0)
    """How long a swap waits for requests in flight; then it aborts them, and the gateway sends them again."""
    swap_abort_seconds: float = Field(default=15, gt=0)
    """How long aborted requests may take to end."""
    reload_seconds: float = Field(default=300, gt=0)
    """Deadline of the engine's reading of new weights."""
    canary_tolerance: float | None = Field(default=None, gt=0)
    """How far the engine's log-probabilities along the canary's answer may be from those published (root mean square,
    nats); unset: what the checkpoint says, which covers float32 and half precision. Raise it for an engine that
    quantises weights."""
    canary_seconds: float = Field(default=600, ge=0)
    """How often the canary is repeated while the weights are served; 0: never."""

    max_inflight: int = Field(default=2048, ge=1)
    """Requests that may be with the engine at once; more are answered 429."""
    max_queued: int = Field(default=2048, ge=0)
    """Requests that may wait while the gate is closed; more are answered 429."""
    queue_seconds: float = Field(default=120, ge=0)
    """How long a request waits for the gate to open; then it is answered 503."""
    request_seconds: float = Field(default=900, gt=0)
    """Longest silence of the engine in an answer."""
    max_body_bytes: int = Field(default=4 << 20, ge=1024)
    """Longest body of a request; a longer one is answered 413."""
    max_sequences: int = Field(default=256, ge=1)
    """Most sequences that one request may ask for: prompts times `n`."""
    structured_outputs: list[Literal["json", "regex", "choice", "grammar", "structural_tag"]] = [
        "json",
        "regex",
        "choice",
    ]
    """Kinds of structured outputs that requests may ask for. A grammar or structural tag of a few bytes can take all of
    the engine's memory: add them only where all callers are trusted."""
    retries: int = Field(default=3, ge=0)
    """How often the gateway repeats a request that an abort or a dying engine cut off before it was answered."""
    drain_seconds: int = Field(default=30, ge=0)
    """How long requests may go on after SIGTERM."""
