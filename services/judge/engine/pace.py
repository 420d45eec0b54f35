"""The pace towards an engine that limits its rate: lower after each HTTP 429, and higher again while there is none.

Nothing is slowed down before the first 429. From then on requests go out one by one, at a rate that follows TCP CUBIC
(RFC 9438), which is additive increase and multiplicative decrease with a memory: a 429 cuts the rate a little below
where the engine refused; it rises slowly to there, and then ever faster. Plain AIMD, which halves the rate each time,
would leave a quarter of the engine's limit unused. The slots follow the rate (Little's law: rate times latency), so
that requests wait in fair turns for a slot, and not behind each other for the pace.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from selfreward.client.http import ServiceError
from services.judge.engine.slots import FairSlots

_DROP = 0.05
_PLATEAU_SECONDS = 60.0
"""After a pause the rate is `1 - _DROP` times the limit; it is at the limit after so many seconds."""
_ROUGH_PLATEAU_SECONDS = 2.0
"""The same where the limit is a rough measure, because the rate was far beyond it."""
_BEYOND_SECONDS = 5.0
"""The rate is `1 + _DROP` times the limit so many seconds later, and 20 times in a minute."""
_FAR_BEYOND = 0.7
_MEASURED_REQUESTS = 4
_WINDOW_SECONDS = 3.0
_FIRST_GUESS = 1.0
_SLOWEST = 1 / 60
"""Requests/s: the least that the first refusal makes of the rate, and all together."""
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 30.0
_CATCH_UP_SECONDS = 0.05


def cubic(limit: float, seconds: float, plateau: float) -> float:
    """The rate in requests/s, `seconds` after a pause; it is `limit` after `plateau` seconds."""
    scale = plateau if seconds < plateau else min(plateau, _BEYOND_SECONDS)
    return limit * (1 + _DROP * ((seconds - plateau) / scale) ** 3)


@dataclass
class Accepted:
    """So many requests an engine accepted, of those sent at `rate` (infinite: all at once) in so many seconds."""

    requests: int
    seconds: float
    rate: float

    def limit(self) -> tuple[float, float]:
        """The engine's limit in requests/s, given that it then refused one, and the plateau for this limit."""
        measured = self.requests / self.seconds
        if self.rate == math.inf:
            return max(measured, _FIRST_GUESS), _ROUGH_PLATEAU_SECONDS
        if self.requests + 1 < _FAR_BEYOND * self.rate * self.seconds:
            return max(measured, self.rate / 2, _SLOWEST), _ROUGH_PLATEAU_SECONDS
        # Near the limit the rate itself is the best measure of it; soon after a pause the rate may be too high.
        if self.requests >= _MEASURED_REQUESTS and self.seconds < 0.99 * _WINDOW_SECONDS:
            return min(self.rate, max(measured, 0.9 * self.rate)), _PLATEAU_SECONDS
        return self.rate, _PLATEAU_SECONDS


class Pace:
    """When requests may go to one engine. Everything that goes there shares it, and it sizes their `slots`.

    All times are those of the event loop, in seconds.
    """

    def __init__(self, slots: FairSlots) -> None:
        self._slots = slots
        self._most_slots = slots.limit
        self._limit: float | None = None
        """Requests/s at which the engine refuses; None while it has refused nothing."""
        self._plateau = 0.0
        self._paused_at = self._refused_at = self._resumes_at = self._next_at = 0.0
        self._sent: deque[float] = deque()
        """When requests were sent since the last pause, within `_WINDOW_SECONDS`."""
        self._accepted = Accepted(0, 1.0, math.inf)
        """What the engine accepted between the last pause and the one before."""
        self._refusals = 0
        self._latency = 1.0
        self._turns = asyncio.Lock()

    @property
    def rate(self) -> float | None:
        """Requests/s that may go now; None while the engine has refused nothing."""
        if self._limit is None:
            return None
        return cubic(self._limit, max(0.0, asyncio.get_running_loop().time() - self._resumes_at), self._plateau)

    async def turn(self, patience: float) -> float:
        """Wait until a request may go. Returns the time then, which `answered` and `refused` need.

        Raises ServiceError (429) at once if nothing may go for more than `patience` seconds.
        """
        loop = asyncio.get_running_loop()
        if self._limit is not None:
            async with self._turns:
                while (wait := self._next_at - loop.time()) > 0:
                    if wait > patience:
                        raise ServiceError(f"the engine limits its rate, and takes nothing for {wait:.0f} s", 429)
                    await asyncio.sleep(wait)
                # A task that wakes up a little late delays none of those behind it.
                gap = 1 / (self.rate or math.inf)
                self._next_at = max(self._next_at, loop.time() - min(gap / 2, _CATCH_UP_SECONDS)) + gap
        now = loop.time()
        self._sent.append(now)
        while self._sent[0] < now - _WINDOW_SECONDS:
            self._sent.popleft()
        return now

    def answered(self, sent_at: float) -> None:
        """Note that there is an answer to a request."""
        self._latency += 0.1 * (asyncio.get_running_loop().time() - sent_at - self._latency)
        self._resize()

    def refused(self, sent_at: float, wait: float | None) -> float | None:
        """Note a 429, and the seconds that it asks to wait. Returns the length of the pause if it begins one."""
        now = asyncio.get_running_loop().time()
        pause = None
        if self._limit is not None and sent_at < self._resumes_at:
            # The request was sent before an earlier refusal began the pause.
            self._accepted.requests -= 1
            self._next_at = max(self._next_at, now + (wait or 0))
        else:
            if self._sent:
                self._sent.pop()
            self._count_refusal(now)
            pause = wait or 0.0
            if wait is None or self._refusals > 1:
                pause = max(pause, min(_FIRST_WAIT_SECONDS * 2 ** (self._refusals - 1), _LONGEST_WAIT_SECONDS))
            self._resumes_at = self._next_at = max(self._next_at, now + pause)
        self._limit, self._plateau = self._accepted.limit()
        self._resize()
        return pause

    def _count_refusal(self, now: float) -> None:
        """Measure what was accepted before this refusal."""
        if self._limit is not None and not self._sent:
            # Nothing since the pause: the engine was refusing all that time, so it counts.
            self._refusals += 1
            self._accepted.seconds += now - self._refused_at
        else:
            # A pause may be longer than the engine needs, so it counts only to complete one second.
            since_pause = now - (self._sent[0] if self._sent else now)
            with_pause = 1.0 if self._limit is None else min(1.0, now - self._paused_at)
            self._accepted = Accepted(len(self._sent), max(since_pause, with_pause, 1e-3), self.rate or math.inf)
            self._sent.clear()
            self._refusals, self._paused_at = 1, now
        self._refused_at = now

    def _resize(self) -> None:
        if (rate := self.rate) is not None:
            slots = min(math.ceil(2 * rate * self._latency) + 1, self._most_slots)
            if slots != self._slots.limit:
                self._slots.resize(slots)
