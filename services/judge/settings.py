"""Settings of the judge service (`SELFREWARD_JUDGE_*`, and the shared ones)."""

from pathlib import Path

from pydantic import Field, SecretStr

from selfreward.settings import Settings, key_of

DEFAULT_PORT = 8001


class JudgeSettings(Settings):
    """Which engine judges, and how much work is taken on at once."""

    judge_engine_url: str | None = None
    """Any OpenAI-compatible base URL without `/v1`; by default the generator."""
    judge_engine_model: str = "policy"
    """Model name sent to the engine when a request pins no version."""
    judge_engine_key: SecretStr | None = None
    """Bearer key of an engine other than the generator; the generator gets `api_key`."""
    judge_engine_deadline: float = Field(default=300.0, gt=0)
    """Seconds for one item's engine request, retries included."""
    judge_engine_attempts: int = Field(default=5, ge=1, le=20)
    judge_concurrency: int = Field(default=64, ge=1, le=4096)
    """Engine requests in flight; each asks for all votes of one item."""
    judge_max_waiting: int = Field(default=8192, ge=1)
    """Items that may wait for the engine over all requests; beyond it a request gets 429."""
    judge_max_items: int = Field(default=1024, ge=1, le=1024)
    """Items in one request."""
    judge_max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    judge_cache_seconds: int = Field(default=86_400, ge=0)
    """How long an answer of the engine is kept for the same question; 0: no result cache."""
    judge_cache_url: str | None = None
    """Redis of the result cache, best one with `maxmemory` and `allkeys-lru`; by default `redis_url`."""
    judge_drain_notice: float = Field(default=1.0, ge=0)
    """Seconds between SIGTERM, when `/readyz` turns 503, and the end of accepting connections."""
    judge_drain_seconds: int = Field(default=30, ge=0)
    """How long requests in flight may go on after that."""
    judge_job_keep_seconds: int = Field(default=86_400, ge=60)
    """How long a job and its results are kept in Redis after its last progress."""
    judge_job_claim_seconds: float = Field(default=60.0, gt=0)
    """Silence of a replica after which another one takes over the part of a job that it had in hand."""
    judge_idempotency_seconds: int = Field(default=3600, ge=1)
    """How long the answer to a request with an `Idempotency-Key` is kept for its repetition."""
    judge_rubrics: Path | None = None
    """Folder with rubrics of your own, each `<name>/rubric.toml` and `<name>/template.txt`, beside the shipped ones."""


def engine_url(settings: JudgeSettings) -> str:
    """Base URL of the judging engine."""
    return settings.judge_engine_url or settings.generator_url


def engine_key(settings: JudgeSettings) -> str | None:
    """The engine's key in the clear. Our own key goes to the generator only, never to somebody else's engine."""
    if settings.judge_engine_key:
        return settings.judge_engine_key.get_secret_value()
    return None if settings.judge_engine_url else key_of(settings)
