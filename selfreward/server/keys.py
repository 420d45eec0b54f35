"""API keys of all services: who may call which routes, and at the judge how much at once.

A keys file holds the SHA-256 of each key, never the key. A plain hash is enough because keys are 256 random bits, which
cannot be guessed: a slow hash would protect nothing, and would slow down every request.

`selfreward keys new NAME --scope SCOPE` makes a key.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from selfreward.contracts.base import Contract, explain
from selfreward.server.startup import StartRefused
from selfreward.settings import Settings, key_of

KeyScope = Literal["infer", "judge", "run", "admin"]
"""`infer`: ask the generator; `judge`: ask the judge; `run`: start, steer and read runs; `admin`: change what is served
and judged by, see the jobs of all."""
SCOPES: tuple[KeyScope, ...] = ("infer", "judge", "run", "admin")
_PREFIX = "srk_"
_NAME = r"^[A-Za-z0-9_.-]{1,64}$"
_SHA256 = re.compile("[0-9a-f]{64}")
_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class KeysError(StartRefused):
    """A keys file that cannot be used. The message names file, field and remedy, but no value, which may be a key."""


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key that a request carries as `Authorization: Bearer <key>`, or None."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _is_hash(value: str) -> str:
    if not _SHA256.fullmatch(value):
        raise ValueError(
            "give the SHA-256 of the key as 64 hex digits; `selfreward keys new NAME --scope SCOPE` prints an entry"
        )
    return value


class Rate(Contract):
    """A token bucket over items: `burst` at once, refilled by `items_per_second`."""

    items_per_second: float = Field(gt=0)
    burst: int = Field(ge=1)


class Key(Contract):
    """One caller and its limits at the judge; a limit that is left out does not apply."""

    name: str = Field(pattern=_NAME)
    sha256: Annotated[str, AfterValidator(_is_hash)]
    scopes: list[KeyScope] = Field(default=["judge"], min_length=1)
    rate: Rate | None = None
    concurrency: int | None = Field(default=None, ge=1)
    """Requests of this key that may be judged at once."""
    job_items: int | None = Field(default=None, ge=1)
    """Items that one job of this key may have."""

    @property
    def sees(self) -> str | None:
        """Whose records the key sees: those of this name alone, or with the scope `admin` everybody's (None)."""
        return None if "admin" in self.scopes else self.name


class _KeysFile(Contract):
    keys: list[Key] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for field in ("name", "sha256"):
            seen: set[str] = set()
            for index, key in enumerate(self.keys):
                value = getattr(key, field)
                if value in seen:
                    raise ValueError(f"keys.{index}.{field} = {value!r} is there twice: remove one")
                seen.add(value)
        return self


class Keyring:
    """All keys that are accepted. Without any, everybody is let in: so it is with `SELFREWARD_API_KEY` unset."""

    open_to_all = Key(name="anyone", sha256="0" * 64, scopes=list(SCOPES))

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = [(bytes.fromhex(key.sha256), key) for key in keys]
        self.names = [key.name for key in keys]

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """The known key that a request carries, or None.

        All keys are compared in full each time, so that the time of an answer says nothing about any of them.
        """
        if not self._keys:
            return self.open_to_all
        given = bearer(headers)
        digest = hashlib.sha256((given or "").encode()).digest()
        matching = [key for known, key in self._keys if hmac.compare_digest(digest, known)]
        return matching[0] if given and matching else None


def load_keyring(settings: Settings) -> Keyring:
    """The keys of `SELFREWARD_KEYS`, and `SELFREWARD_API_KEY` with all scopes and no limits. Raises KeysError.

    If the file lists `SELFREWARD_API_KEY`, that key has the scopes of the file: this service then only shows the key to
    other services, and it opens no more here than the file says.
    """
    keys = load_keys(settings.keys) if settings.keys else []
    shared = key_of(settings)
    if shared and fingerprint(shared) not in {key.sha256 for key in keys}:
        if any(key.name == "shared" for key in keys):
            raise KeysError(f"{settings.keys}: the name 'shared' stands for SELFREWARD_API_KEY: choose another")
        keys.append(Key(name="shared", sha256=fingerprint(shared), scopes=list(SCOPES)))
    return Keyring(keys)


def load_keys(path: Path) -> list[Key]:
    """Read and check a keys file. Raises KeysError."""
    try:
        return _KeysFile.model_validate(tomllib.loads(path.read_text())).keys
    except OSError as error:
        raise KeysError(f"SELFREWARD_KEYS={str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysError(f"SELFREWARD_KEYS: {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise KeysError(f"SELFREWARD_KEYS: {path}:\n{explain(error, values=False)}") from None


def new_key() -> str:
    """A key from 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def fingerprint(key: str) -> str:
    """The SHA-256 of a key in hex, as a keys file holds it."""
    return hashlib.sha256(key.encode()).hexdigest()


class LiveKeyring:
    """A Keyring that reads `SELFREWARD_KEYS` again when it changes. KeysError for an unusable file at the start."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        # The time of change is read before the file: a change in between is then seen at the next look.
        self._seen = self._changed_at()
        self._ring = load_keyring(settings)
        self._looked = clock()

    def find(self, headers: Mapping[str, str]) -> Key | None:
        """The key that a request carries, by the file as it was at most a second ago."""
        if self._settings.keys and self._clock() - self._looked >= _LOOK_SECONDS:
            self._looked = self._clock()
            self._look()
        return self._ring.find(headers)

    def _look(self) -> None:
        seen = self._changed_at()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._ring = load_keyring(self._settings)
        except KeysError as error:
            _log.error("the keys file cannot be used; the previous keys stay valid", extra={"error": str(error)})
        else:
            _log.info("the keys file has been read again", extra={"keys": self._ring.names})

    def _changed_at(self) -> int | None:
        """Modification time of the file in nanoseconds; None without a file."""
        path = self._settings.keys
        try:
            return path.stat().st_mtime_ns if path else None
        except OSError:
            return None
