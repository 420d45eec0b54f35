"""Settings that every service reads from the environment (`SELFREWARD_*`); recipes hold everything about a run."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Addresses and secrets shared by the services. Each service extends this with its own few settings."""

    model_config = SettingsConfigDict(env_prefix="SELFREWARD_", extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis of the queue, the announcements and the run state."""
    artifacts: str = "./runs/artifacts"
    """Root of the artifact store: a path, file:// or s3:// URL."""
    generator_url: str = "http://127.0.0.1:8000"
    judge_url: str = "http://127.0.0.1:8001"
    orchestrator_url: str = "http://127.0.0.1:8002"
    api_key: SecretStr | None = None
    """Bearer key that services ask for and clients send; unset means open, for loopback use only."""
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 is the service's default: generator 8000, judge 8001, orchestrator 8002, trainer 8003."""
    log_level: str = "INFO"


def key_of(settings: Settings) -> str | None:
    """The API key in the clear, or None."""
    return settings.api_key.get_secret_value() if settings.api_key else None
