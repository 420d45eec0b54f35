"""The keys file, read again when it changes: a key is added, limited or revoked without a restart.

A changed file that cannot be used changes nothing: the keys of before stay valid, and the error is logged.
"""

import logging
import time
from collections.abc import Callable, Mapping

from selfreward.server.keys import Key, KeysError, load_keyring
from selfreward.settings import Settings

_LOOK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class LiveKeyring:
    """A Keyring that follows `SELFREWARD_KEYS`. Raises KeysError when the file cannot be used at the start."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        # Looked at before it is read: what is written in between is seen the next time.
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
            _log.error("the keys file cannot be used, the keys of before stay valid", extra={"error": str(error)})
        else:
            _log.info("the keys file has been read again", extra={"keys": self._ring.names})

    def _changed_at(self) -> int | None:
        """Modification time of the file in nanoseconds; None where there is none."""
        path = self._settings.keys
        try:
            return path.stat().st_mtime_ns if path else None
        except OSError:
            return None
