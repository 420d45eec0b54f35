"""What one key may ask for: items a second, and requests at once.

Counted in this process, so with several replicas each grants the limits by itself: divide them by the replicas, or
see them as what one key may take of one replica.
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


class Bucket:
    """A token bucket: full at first, and never fuller than `rate.burst`."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._filled = clock()

    def take(self, tokens: int) -> float:
        """Take the tokens and return 0, or take none and return the seconds until there are enough."""
        now = self._clock()
        self._tokens = min(self.rate.burst, self._tokens + (now - self._filled) * self.rate.items_per_second)
        self._filled = now
        if tokens > self._tokens:
            return (tokens - self._tokens) / self.rate.items_per_second
        self._tokens -= tokens
        return 0.0


class KeyUse:
    """How much of its limits a key uses now."""

    def __init__(self, key: Key, clock: Clock) -> None:
        self.key = key
        self.running = 0
        self._clock = clock
        self._bucket = Bucket(key.rate, clock) if key.rate else None
        self._seconds = 1.0
        """A request's mean duration; the newest counts a fifth."""

    @contextmanager
    def admitted(self, items: int) -> Iterator[None]:
        """Count a request of so many items while it is judged. ApiError: 429, or 422 where waiting is no help."""
        key, rate = self.key, self.key.rate
        if rate and items > rate.burst:
            message = (
                f"items has {items} entries, key {key.name!r} may send {rate.burst} at once: send smaller requests"
            )
            raise invalid_fields([("items", message)])
        if key.concurrency is not None and self.running >= key.concurrency:
            message = f"key {key.name!r} has {self.running} requests running, {key.concurrency} are allowed"
            raise self._limited("concurrency", message, self._seconds / key.concurrency)
        self._spend(items)
        started = self._clock()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._seconds += (self._clock() - started - self._seconds) / 5

    def submitted(self, items: int) -> None:
        """Count a job of so many items, as a request of as many as the rate allows at once. Raises ApiError: 429."""
        self._spend(min(items, self.key.rate.burst) if self.key.rate else items)

    def _spend(self, items: int) -> None:
        rate = self.key.rate
        wait = self._bucket.take(items) if self._bucket else 0.0
        if rate and wait:
            message = f"key {self.key.name!r} may judge {rate.items_per_second:g} items a second ({rate.burst} at once)"
            raise self._limited("rate", message, wait)

    def follow(self, key: Key) -> None:
        """Hold to the limits of `key`, the same one as its file says now. What is running goes on counting."""
        if key.rate != self.key.rate:
            self._bucket = Bucket(key.rate, self._clock) if key.rate else None
        self.key = key

    def _limited(self, reason: str, message: str, seconds: float) -> ApiError:
        REFUSED.labels(self.key.name, reason).inc()
        wait = max(1, math.ceil(seconds))
        headers = {"Retry-After": str(wait)}
        return ApiError(429, f"{message}: try again in {wait} s", code=f"{reason}_limit", headers=headers)


class Limits:
    """The use of every key that was seen."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, KeyUse] = {}

    def of(self, key: Key) -> KeyUse:
        """The use of one key, which its name identifies."""
        use = self._uses.setdefault(key.name, KeyUse(key, self._clock))
        if use.key != key:
            use.follow(key)
        return use
