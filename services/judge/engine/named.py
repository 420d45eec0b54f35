"""The engines that rubrics may name as their jury: the TOML of `SELFREWARD_JUDGE_ENGINES`, a table for each.

    [large]
    url = "https://host/v1"
    model = "large-judge"
    key = "..."                             # left out: the engine asks for none
    parameters = { service_tier = "flex" }  # further fields of each request

The setting is the TOML itself, or the path of a file of it, which has no `=` in its name.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, SecretStr, TypeAdapter, ValidationError

from selfreward.contracts.base import Contract, explain
from selfreward.server.startup import StartRefused
from selfreward.settings import check_address, header_key

SETTING = "SELFREWARD_JUDGE_ENGINES"


class EnginesError(StartRefused):
    """A table of engines that cannot be used. The message names field and remedy, but no value, which may be a key."""


def _check_url(value: str) -> str:
    return check_address(value, ("http", "https"), "write https://HOST/v1")


class NamedEngine(Contract):
    """One engine: its address as OpenAI's clients take it, its model, its key, and further fields of each request."""

    url: Annotated[str, AfterValidator(_check_url)]
    model: str = Field(pattern="^[ -~]+$")
    key: Annotated[SecretStr | None, AfterValidator(header_key)] = None
    parameters: dict[str, JsonValue] = {}


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_TABLE = TypeAdapter(dict[_Name, NamedEngine])


def load_engines(setting: SecretStr | None) -> dict[str, NamedEngine]:
    """The engines by name; none without the setting. Raises EnginesError."""
    if setting is None:
        return {}
    where, text = SETTING, setting.get_secret_value()
    if "=" not in text:
        where = f"{SETTING}: {text.strip()}"
        text = _read(Path(text.strip()))
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EnginesError(f"{where} is not valid TOML: {error}") from None
    try:
        return _TABLE.validate_python(table)
    except ValidationError as error:
        raise EnginesError(f"{where}:\n{explain(error, values=False)}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        message = f"{SETTING}={str(path)!r} cannot be read ({error.strerror}): give a file, or the TOML itself"
        raise EnginesError(message) from error
    except UnicodeDecodeError as error:
        raise EnginesError(f"{SETTING}: {path} is not UTF-8: {error.reason}") from error


def key_of(engine: NamedEngine) -> str | None:
    """The engine's key in clear text."""
    return engine.key.get_secret_value() if engine.key else None
