"""The limits of each API key: items per second, and concurrent requests.

They hold over all replicas that share a Redis (`shared_limits.py`). Each process also counts by itself, which is what
limits a key without Redis and while it is away.
"""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext

from selfreward.server.errors import ApiError
from selfreward.server.keys import Key, Rate
from services.judge.metrics import REFUSED
from services.judge.serving.errors import invalid_fields
from services.judge.serving.shared_limits import Refusal, SharedLimits

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

    def give_back(self, tokens: int) -> None:
        """Put back tokens that were taken for nothing."""
        self._tokens = min(self.rate.burst, self._tokens + tokens)


class KeyUse:
    """The current use of one key's limits, in this process and by `shared` in all of them."""

    def __init__(self, key: Key, clock: Clock, shared: SharedLimits | None = None) -> None:
        self.key = key
        self.running = 0
        self._clock = clock
        self._shared = shared
        self._bucket = TokenBucket(key.rate, clock) if key.rate else None
        self._seconds = 1.0
        """Moving average of a request's duration; the newest request has the weight 1/5."""

    @asynccontextmanager
    async def admitted(self, items: int) -> AsyncIterator[None]:
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
            raise self._refuse(key, Refusal("concurrency", self.running))
        self._spend(key, items)
        self.running += 1
        try:
            async with self._shared.held(key, items) if self._shared else nullcontext() as refusal:
                if refusal is not None:
                    self._give_back(items)
                    raise self._refuse(key, refusal)
                started = self._clock()
                try:
                    yield
                finally:
                    self._seconds += (self._clock() - started - self._seconds) / 5
        finally:
            self.running -= 1

    async def admit_job(self, items: int) -> None:
        """Count a job of so many items, but at most the key's burst. Raises ApiError (429)."""
        key = self.key
        tokens = min(items, key.rate.burst) if key.rate else items
        self._spend(key, tokens)
        refusal = await self._shared.take(key, tokens) if self._shared else None
        if refusal is not None:
            self._give_back(tokens)
            raise self._refuse(key, refusal)

    def _spend(self, key: Key, items: int) -> None:
        wait = self._bucket.take(items) if self._bucket else 0.0
        if wait:
            raise self._refuse(key, Refusal("rate", wait))

    def _give_back(self, items: int) -> None:
        if self._bucket:
            self._bucket.give_back(items)

    def update(self, key: Key) -> None:
        """Apply the limits that the keys file has for this key now. Requests that are running still count."""
        if key.rate != self.key.rate:
            self._bucket = TokenBucket(key.rate, self._clock) if key.rate else None
        self.key = key

    def _refuse(self, key: Key, refusal: Refusal) -> ApiError:
        REFUSED.labels(key.name, refusal.limit).inc()
        if refusal.limit == "rate" and key.rate:
            limit = f"may judge {key.rate.items_per_second:g} items a second ({key.rate.burst} at once)"
            seconds = refusal.value
        else:
            limit = f"has {refusal.value:g} requests running, {key.concurrency} are allowed"
            seconds = self._seconds / (key.concurrency or 1)
        wait = max(1, math.ceil(seconds))
        message = f"key {key.name!r} {limit}: try again in {wait} s"
        return ApiError(429, message, code=f"{refusal.limit}_limit", headers={"Retry-After": str(wait)})


class Limits:
    """The use of all keys that have sent requests. Without `shared`, each process limits the keys by itself."""

    def __init__(self, shared: SharedLimits | None = None, clock: Clock = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._uses: dict[str, KeyUse] = {}

    def of(self, key: Key) -> KeyUse:
        """The use of one key. Its name identifies it."""
        use = self._uses.setdefault(key.name, KeyUse(key, self._clock, self._shared))
        if use.key != key:
            use.update(key)
        return use
