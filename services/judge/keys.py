"""The judge's API keys: who may call what, and how much at once.

A keys file holds the SHA-256 of each key, never the key. A plain hash is enough because keys are made here from 256
random bits: there is nothing to guess that a slow hash could protect, and it would cost every request its time.

`python -m services.judge.keys new NAME` makes a key.
"""

import argparse
import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from selfreward.auth import bearer
from selfreward.config import explain
from selfreward.contracts import Contract
from selfreward.settings import key_of
from services.judge.settings import JudgeSettings

Scope = Literal["judge", "admin"]
SCOPES: tuple[Scope, ...] = ("judge", "admin")
_PREFIX = "srk_"
_NAME = r"^[A-Za-z0-9_.-]{1,64}$"


class KeysError(ValueError):
    """A keys file that cannot be used; the message names file, field, value and remedy."""


class Rate(Contract):
    """A token bucket over items: `burst` at once, refilled by `items_per_second`."""

    items_per_second: float = Field(gt=0)
    burst: int = Field(ge=1)


class Key(Contract):
    """One caller. What is left out is not limited."""

    name: str = Field(pattern=_NAME)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: list[Scope] = Field(default=["judge"], min_length=1)
    rate: Rate | None = None
    concurrency: int | None = Field(default=None, ge=1)
    """Requests of this key that may be judged at once."""
    job_items: int | None = Field(default=None, ge=1)
    """Items that one job of this key may have."""


class _KeysFile(Contract):
    keys: list[Key] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("name", "sha256"):
            seen: set[str] = set()
            for index, key in enumerate(self.keys):
                value = getattr(key, field)
                if value in seen:
                    raise ValueError(f"keys.{index}.{field} = {value!r} stands there twice: remove one")
                seen.add(value)
        return self


class Keyring:
    """All keys that are accepted. Empty: everybody is let in, as `SELFREWARD_API_KEY` unset means."""

    open_to_all = Key(name="anyone", sha256="0" * 64, scopes=list(SCOPES))

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]
        self.names = [key.name for key in keys]

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """The key that a request carries; None when it carries none that is known.

        All keys are compared in full each time, so that the time tells nothing about any of them.
        """
        if not self._keys:
            return self.open_to_all
        given = bearer(headers)
        digest = hashlib.sha256((given or "").encode()).digest()
        found = [key for known, key in self._keys if hmac.compare_digest(digest, known)]
        return found[0] if given and found else None


def load_keyring(settings: JudgeSettings) -> Keyring:
    """The keys of `SELFREWARD_JUDGE_KEYS`, and `SELFREWARD_API_KEY` with all scopes and no limits. Raises KeysError."""
    keys = load_keys(settings.judge_keys) if settings.judge_keys else []
    shared = key_of(settings)
    if shared:
        if any(key.name == "shared" for key in keys):
            raise KeysError(f"{settings.judge_keys}: the name 'shared' stands for SELFREWARD_API_KEY: choose another")
        keys.append(Key(name="shared", sha256=fingerprint(shared), scopes=list(SCOPES)))
    return Keyring(keys)


def load_keys(path: Path) -> list[Key]:
    """Read and check a keys file. Raises KeysError."""
    try:
        return _KeysFile.model_validate(tomllib.loads(path.read_text())).keys
    except OSError as error:
        raise KeysError(f"judge_keys={str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysError(f"judge_keys: {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise KeysError(f"judge_keys: {path}:\n{explain(error)}") from error


def fingerprint(key: str) -> str:
    """What a keys file holds of a key: its SHA-256 in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def main() -> None:
    """Make a key, print it once, and print what to add to the keys file."""
    parser = argparse.ArgumentParser(prog="python -m services.judge.keys", description="Make an API key of the judge.")
    new = parser.add_subparsers(dest="command", required=True).add_parser("new", help="make a key")
    new.add_argument("name", help="who will use it; shown in logs and metrics")
    new.add_argument("--admin", action="store_true", help="may also change rubrics")
    arguments = parser.parse_args()
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        entry = Key(name=arguments.name, sha256=fingerprint(key), scopes=list(SCOPES) if arguments.admin else ["judge"])
    except ValidationError as error:
        parser.error(explain(error).strip())
    scopes = ", ".join(f'"{scope}"' for scope in entry.scopes)
    print(f"# The key, shown only this once:\n#   {key}\n# Add to the file that SELFREWARD_JUDGE_KEYS names:")
    print(f'[[keys]]\nname = "{entry.name}"\nsha256 = "{entry.sha256}"\nscopes = [{scopes}]')
    print("# rate = { items_per_second = 20, burst = 256 }\n# concurrency = 4\n# job_items = 10000")


if __name__ == "__main__":
    main()
