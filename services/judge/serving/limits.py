"""The limits of each API key: items per second, and concurrent requests.

Each process counts by itself, so with several replicas a key may use its limits on each replica: divide them by the
number of replicas, or set them for one replica.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from selfreward.server.errors import ApiError
from selfreward.server.keys import Key, Rate
from services.judge.metrics import REFUSED
from services.judge.serving.errors import invalid_fields

Clock = Callable[[], float]


class TokenBucket:
    """A token bucket. It is full at first, and has at most `rate.burst` tokens."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._filled = clock()

    def take(self, tokens: int) -> float:
        """Take the tokens and return 0; or take none and return the seconds until there are enough."""
        now = self._clock()
        self._tokens = min(self.rate.burst, self._tokens + (now - self._filled) * self.rate.items_per_second)
        self._filled = now
        if tokens > self._tokens:
            return (tokens - self._tokens) / self.rate.items_per_second
        self._tokens -= tokens
        return 0.0


class KeyUse:
    """The current use of one key's limits."""

    def __init__(self, key: Key, clock: Clock) -> None:
        self.key = key
        self.running = 0
        self._clock = clock
        self._bucket = TokenBucket(key.rate, clock) if key.rate else None
        self._seconds = 1.0
        """Moving average of a request's duration; the newest request has the weight 1/5."""

    @contextmanager
    def admitted(self, items: int) -> Iterator[None]:
        """Count a request of so many items while it is judged.

        Raises ApiError: 429 when a limit is reached, 422 when the request has more items than the key may ever send.
        """
        key, rate = self.key, self.key.rate
        if rate and items > rate.burst:
            message = (
                f"items has {items} entries, key {key.name!r} may send {rate.burst} at once: send smaller requests"
            )
            raise invalid_fields([("items", message)])
        if key.concurrency is not None and self.running >= key.concurrency:
            message = f"key {key.name!r} has {self.running} requests running, {key.concurrency} are allowed"
            raise self._refuse("concurrency", message, self._seconds / key.concurrency)
        self._spend(items)
        started = self._clock()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._seconds += (self._clock() - started - self._seconds) / 5

    def admit_job(self, items: int) -> None:
        """Count a job of so many items, but at most the key's burst. Raises ApiError (429)."""
        self._spend(min(items, self.key.rate.burst) if self.key.rate else items)

    def _spend(self, items: int) -> None:
        rate = self.key.rate
        wait = self._bucket.take(items) if self._bucket else 0.0
        if rate and wait:
            message = f"key {self.key.name!r} may judge {rate.items_per_second:g} items a second ({rate.burst} at once)"
            raise self._refuse("rate", message, wait)

    def update(self, key: Key) -> None:
        """Apply the limits that the keys file has for this key now. Requests that are running still count."""
        if key.rate != self.key.rate:
            self._bucket = TokenBucket(key.rate, self._clock) if key.rate else None
        self.key = key

    def _refuse(self, reason: str, message: str, seconds: float) -> ApiError:
        REFUSED.labels(self.key.name, reason).inc()
        wait = max(1, math.ceil(seconds))
        headers = {"Retry-After": str(wait)}
        return ApiError(429, f"{message}: try again in {wait} s", code=f"{reason}_limit", headers=headers)


class Limits:
    """The use of all keys that have sent requests."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, KeyUse] = {}

    def of(self, key: Key) -> KeyUse:
        """The use of one key. Its name identifies it."""
        use = self._uses.setdefault(key.name, KeyUse(key, self._clock))
        if use.key != key:
            use.update(key)
        return use
