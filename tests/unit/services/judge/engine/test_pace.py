"""The pace towards engines that limit their rate in the ways that providers do, in virtual time."""

import asyncio
import math
import random
from collections.abc import Callable

import pytest

from selfreward.client.http import ServiceError
from services.judge.engine.pace import Pace
from services.judge.engine.slots import FairSlots, Lane
from tests.support.virtual_time import run

RATE = 5
ROWS = 1000


class Bucket:
    """Tokens that come back at a steady rate."""

    def __init__(self, capacity: float, rate: float = RATE) -> None:
        self.capacity = self.tokens = capacity
        self.rate = rate
        self.since = 0.0

    def refuses(self, now: float) -> float:
        """Seconds until the next request may come; 0 takes this one."""
        self.tokens = min(self.capacity, self.tokens + (now - self.since) * self.rate)
        self.since = now
        if self.tokens < 1 - 1e-9:
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0


class Sliding:
    """So many requests in any `seconds`."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds
        self.taken: list[float] = []

    def refuses(self, now: float) -> float:
        """As a bucket does."""
        self.taken = [at for at in self.taken if now - at < self.seconds]
        if len(self.taken) == self.requests:
            return self.taken[0] + self.seconds - now
        self.taken.append(now)
        return 0


class Windows:
    """So many requests in each window of `seconds`."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds
        self.window, self.taken = 0, 0

    def refuses(self, now: float) -> float:
        """As a bucket does."""
        window = int(now / self.seconds)
        if window != self.window:
            self.window, self.taken = window, 0
        if self.taken == self.requests:
            return (window + 1) * self.seconds - now
        self.taken += 1
        return 0


Limiter = Bucket | Sliding | Windows
Says = Callable[[float], float | None]
LIMITERS: dict[str, Callable[[], Limiter]] = {
    "bucket": lambda: Bucket(RATE),
    "burst": lambda: Bucket(10 * RATE),
    "sliding": lambda: Sliding(RATE, 1),
    "second": lambda: Windows(RATE, 1),
    "ten seconds": lambda: Windows(10 * RATE, 10),
}
HEADERS: dict[str, Says] = {
    "nothing": lambda _: None,
    "whole seconds": math.ceil,
    "milliseconds": lambda wait: wait,
}


class Engine:
    """Takes what its limiter lets through, and answers after about `latency` seconds."""

    def __init__(self, limiter: Limiter, says: Says, latency: float) -> None:
        self.limiter = limiter
        self.says = says
        self.latency = latency
        self.slots = FairSlots(64)
        self.pace = Pace(self.slots)
        self.random = random.Random(1)
        self.done: list[float] = []
        self.refused: list[float] = []

    async def ask(self, lane: Lane) -> None:
        """One request, which goes again until it is taken."""
        loop = asyncio.get_running_loop()
        async with self.slots.slot(lane):
            while True:
                sent_at = await self.pace.turn(300)
                await asyncio.sleep(self.random.uniform(0.005, 0.01))
                wait = self.limiter.refuses(loop.time())
                if not wait:
                    await asyncio.sleep(self.latency * self.random.uniform(0.5, 1.5))
                    self.pace.answered(sent_at)
                    self.done.append(loop.time())
                    return
                self.refused.append(loop.time())
                self.pace.refused(sent_at, self.says(wait))

    async def ask_all(self, rows: int) -> None:
        """So many requests, all at once."""
        lane = Lane()
        async with asyncio.TaskGroup() as group:
            for _ in range(rows):
                group.create_task(self.ask(lane))


@pytest.mark.parametrize("says", HEADERS)
@pytest.mark.parametrize("limiter", LIMITERS)
def test_a_limit_costs_little_more_than_its_own_time(limiter: str, says: str) -> None:
    engine = Engine(LIMITERS[limiter](), HEADERS[says], latency=0.1 if says == "nothing" else 2.0)

    run(engine.ask_all(ROWS))

    assert len(engine.done) == ROWS
    assert max(engine.done) < 1.1 * ROWS / RATE
    # The first burst is refused before anything is known of a limit; after it few requests are.
    assert len(engine.refused) < 64 + ROWS / 20


def test_nothing_is_slowed_down_before_the_first_refusal() -> None:
    engine = Engine(Bucket(10_000), math.ceil, 0.1)

    run(engine.ask_all(ROWS))

    assert engine.pace.rate is None
    assert engine.slots.limit == 64
    assert max(engine.done) < 1.5 * 0.15 * ROWS / 64


def test_the_pace_follows_a_limit_that_changes() -> None:
    limiter = Bucket(5, rate=5)
    engine = Engine(limiter, math.ceil, 0.5)

    async def scenario() -> list[int]:
        work = asyncio.create_task(engine.ask_all(6000))
        taken = []
        for rate in (5, 1, 20):
            limiter.rate = rate
            await asyncio.sleep(150)
            before = len(engine.done)
            await asyncio.sleep(50)
            taken.append(len(engine.done) - before)
        work.cancel()
        return taken

    taken = run(scenario())

    assert taken[0] > 0.9 * 250
    assert taken[1] > 0.8 * 50
    assert taken[2] > 0.8 * 1000


def test_slots_are_as_many_as_the_rate_needs() -> None:
    engine = Engine(Bucket(5), math.ceil, 2.0)

    async def scenario() -> int:
        work = asyncio.create_task(engine.ask_all(ROWS))
        await asyncio.sleep(100)
        limit = engine.slots.limit
        work.cancel()
        return limit

    # 5 requests/s that take 2 s each are 10 at a time.
    assert 10 < run(scenario()) < 30


def test_a_pause_beyond_ones_patience_fails_at_once() -> None:
    async def scenario() -> float:
        pace = Pace(FairSlots(1))
        pace.refused(await pace.turn(300), 3600)
        with pytest.raises(ServiceError, match="takes nothing for 3600 s") as caught:
            await pace.turn(300)
        assert caught.value.status == 429
        return asyncio.get_running_loop().time()

    assert run(scenario()) == 0


def test_an_engine_that_takes_nothing_is_asked_ever_less_often() -> None:
    async def scenario() -> list[float | None]:
        pace = Pace(FairSlots(1))
        return [pace.refused(await pace.turn(300), None) for _ in range(9)]

    assert run(scenario()) == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30])


def test_a_refusal_that_asks_for_no_wait_begins_a_pause_all_the_same() -> None:
    async def scenario() -> float | None:
        pace = Pace(FairSlots(2))
        first, second = await pace.turn(300), await pace.turn(300)
        pace.refused(first, 0)
        return pace.refused(second, 0)

    assert run(scenario()) == pytest.approx(0.4)
