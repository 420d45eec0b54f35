"""Settings of the judge service (`SELFREWARD_JUDGE_*`, and the shared ones)."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, Json, SecretStr, field_validator
from pydantic_settings import NoDecode

from selfreward.settings import Settings, base_url, check_address, header_key, key_of

DEFAULT_PORT = 8001


class JudgeSettings(Settings):
    """Which engine judges, how much work the judge accepts at once, and how long it keeps results."""

    judge_engine_url: str | None = None
    """Base URL of any OpenAI-compatible server, as its clients take it (`https://host/v1`), or its address without a
    path; by default the generator."""
    judge_engine_model: str = "policy"
    """Model name in engine requests that pin no version."""
    judge_engine_key: SecretStr | None = None
    """Bearer key for an engine other than the generator; the generator gets `api_key`."""
    judge_engines: SecretStr | None = None
    """Engines that rubrics may name as their jury: TOML, or the path of a TOML file (`engine/named.py`)."""
    judge_engine_parameters: Annotated[Json[dict[str, Any]], NoDecode] = Field(default={}, validate_default=False)
    """JSON object of fields that every judging request has; those that are null are left out of all."""
    judge_engine_deadline: float = Field(default=300.0, gt=0)
    """Seconds for the engine request of one item, including retries."""
    judge_engine_attempts: int = Field(default=5, ge=1, le=20)
    judge_concurrency: int = Field(default=64, ge=1, le=4096)
    """Concurrent engine requests; each samples all votes on one item."""
    judge_max_waiting: int = Field(default=8192, ge=1)
    """Items of all requests that may wait for the engine; a request beyond that gets 429."""
    judge_max_items: int = Field(default=1024, ge=1, le=1024)
    """Items that one request may have."""
    judge_max_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    judge_max_file_bytes: int = Field(default=100 * 1024 * 1024, ge=1024)
    """Bytes of a file for a batch, which Redis keeps in memory, once more while the batch runs."""
    judge_key_works: int = Field(default=200, ge=1)
    """Unfinished jobs and batches, and files, that Redis keeps for one API key; beyond it 429."""
    judge_key_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """Bytes of these. Redis is shared with the runs of the loop, so no key may fill it."""
    judge_cache_seconds: int = Field(default=86_400, ge=0)
    """How long an engine reply is kept for the same request; 0 turns the result cache off."""
    judge_cache_url: str | None = None
    """Redis of the result cache, preferably with `maxmemory` and `allkeys-lru`; by default `redis_url`."""
    judge_drain_notice: float = Field(default=1.0, ge=0)
    """Seconds from SIGTERM, when `/readyz` turns 503, until the judge stops accepting connections."""
    judge_drain_seconds: int = Field(default=30, ge=0)
    """Seconds that requests in flight may take after that."""
    judge_job_keep_seconds: int = Field(default=86_400, ge=60)
    """How long Redis keeps a job and its results after its last progress, and files after they were made."""
    judge_job_claim_seconds: float = Field(default=60.0, gt=0)
    """Silence of a replica after which another one takes over its chunks of a job."""
    judge_idempotency_seconds: int = Field(default=3600, ge=1)
    """How long the answer to a request with an `Idempotency-Key` is kept for repeated requests."""
    judge_rubrics: Path | None = None
    """Folder of your own rubrics, each `<name>/rubric.toml` and `<name>/template.txt`, besides the shipped ones."""

    @field_validator("judge_engine_url")
    @classmethod
    def _check_engine_url(cls, value: str | None) -> str | None:
        return check_address(value, ("http", "https"), "https://HOST/v1") if value else None

    @field_validator("judge_engine_key")
    @classmethod
    def _check_engine_key(cls, value: SecretStr | None) -> SecretStr | None:
        return header_key(value)


def engine_url(settings: JudgeSettings) -> str:
    """The base URL of the judging engine's routes, such as `/chat/completions`."""
    if not settings.judge_engine_url:
        return f"{settings.generator_url.rstrip('/')}/v1"
    return base_url(settings.judge_engine_url)


def engine_key(settings: JudgeSettings) -> str | None:
    """The engine's key in clear text. Our own key goes only to the generator, never to somebody else's engine."""
    if settings.judge_engine_key:
        return settings.judge_engine_key.get_secret_value()
    return None if settings.judge_engine_url else key_of(settings)
