"""How long everything waits before another try. Jitter keeps those who failed together from coming back together."""

import random
from collections.abc import Iterator


def jittered(seconds: float) -> float:
    """A wait between half of `seconds` and all of them."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - guards no secret


def backoff(first: float, longest: float) -> Iterator[float]:
    """Jittered waits in seconds: `first`, then twice as long each time, never more than `longest`.

    It has no end: the caller bounds the tries or the time, or waits for good.
    """
    while True:
        yield jittered(min(first, longest))
        first *= 2
