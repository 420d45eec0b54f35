"""Settings that services and command line read from the environment (`SELFREWARD_*`). A run has a recipe instead."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

SECRETS_DIR = "SELFREWARD_SECRETS_DIR"  # pragma: allowlist secret - the name of a variable


class Settings(BaseSettings):
    """Addresses and secrets that the services share. Each service extends this class with its own settings.

    A setting that is not in the environment is read from a file in the folder `SELFREWARD_SECRETS_DIR`, as Docker and
    Kubernetes mount secrets. The file is named like the variable in lower case (`selfreward_api_key`).
    """

    model_config = SettingsConfigDict(env_prefix="SELFREWARD_", extra="ignore", hide_input_in_errors=True)

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Redis of the queue, the announcements and the run state."""
    artifacts: str = Field(default_factory=lambda: f"{os.environ.get('SELFREWARD_FOLDER') or './runs/local'}/artifacts")
    """Root of the artifact store: a path, file:// or s3:// URL. By default it is in the folder of `selfreward up`."""
    models: Path | None = None
    """Where `selfreward model fetch` keeps models; unset, it is selfreward/models in the user's cache folder."""
    generator_url: str = "http://127.0.0.1:8000"
    judge_url: str = "http://127.0.0.1:8001"
    orchestrator_url: str = "http://127.0.0.1:8002"
    api_key: SecretStr | None = None
    """Bearer key that clients and services send. A service grants it all scopes, unless `keys` lists it."""
    keys: Path | None = None
    """TOML file with API keys, their scopes and limits (`selfreward/server/keys.py`), read again when it changes.
    Without this and `api_key` a service asks for no key, which it allows on loopback only."""
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 is the service's default: generator 8000, judge 8001, orchestrator 8002, trainer 8003."""
    max_bytes_in_flight: int = Field(default=128 << 20, ge=1 << 20)
    """Bytes that the bodies of all requests to this process may have at once, those of one key half as many; more are
    answered 429."""
    log_level: str = Field(default="INFO", pattern="(?i)^(debug|info|warning|error|critical)$")

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        # The message does not show the value, which holds the password.
        return check_address(
            value, ("redis", "rediss", "unix"), "redis://:PASSWORD@HOST:6379/0, special characters as %XX"
        )

    @field_validator("generator_url", "judge_url", "orchestrator_url")
    @classmethod
    def _check_service_url(cls, value: str) -> str:
        return check_address(value, ("http", "https"), "http://HOST:PORT")

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: SecretStr | None) -> SecretStr | None:
        return header_key(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings gives it by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Precedence: arguments, environment, secret files. Raises SettingsError when there is no such folder."""
        folder = os.environ.get(SECRETS_DIR)
        if folder and not Path(folder).is_dir():
            raise SettingsError(f"{SECRETS_DIR}={folder!r} is not a folder: mount the secrets there, or leave it out")
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder or None)


def check_address(value: str, schemes: tuple[str, ...], example: str) -> str:
    """The address, if it has one of the schemes and can be read. Raises ValueError, which does not show it."""
    starts = tuple(f"{scheme}://" for scheme in schemes)
    try:
        split = urlsplit(value)
        valid = value.startswith(starts) and split.port != 0 and bool(split.netloc or split.path)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(f"is no address that begins with {' or '.join(starts)}: {example}")
    return value


def base_url(address: str) -> str:
    """The base URL of the routes of an engine.

    An address with a path is that base URL already, as OpenAI's clients call it (`https://host/v1beta/openai/`). One
    without a path is a server whose routes are below `/v1`, and so is the generator.
    """
    base = address.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def header_key(key: SecretStr | None) -> SecretStr | None:
    """A key as a header can hold it, without the white space that a file or a paste leaves around it.

    Raises ValueError, which does not show it, for other signs than printable ASCII.
    """
    text = "" if key is None else key.get_secret_value().strip()
    if not (text.isascii() and (text.isprintable() or not text)):
        raise ValueError("has a line break or a sign that is not ASCII: copy the key again")
    return SecretStr(text) if text else None


def key_of(settings: Settings) -> str | None:
    """The API key in plain text, or None."""
    return settings.api_key.get_secret_value() if settings.api_key else None
