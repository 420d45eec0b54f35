"""A bounded number of engine slots, shared fairly: first between callers, then between the requests of one caller.

A request of one item never waits behind a request of a thousand, and a caller with a thousand requests gets no more
turns than a caller with one.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """The queue of one HTTP request: its engine requests that wait for a slot."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()


class FairSlots:
    """At most `limit` slots in use, which `resize` changes.

    A free slot goes to the next caller in turn, to the next of that caller's lanes in turn, and to the first in that
    lane. `waiting` counts the requests in all lanes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.waiting = 0
        self._turns: dict[str, deque[Lane]] = {}
        """The lanes with waiting requests, by caller; callers and lanes are in the order of their turns."""

    @asynccontextmanager
    async def slot(self, lane: Lane, caller: str = "") -> AsyncIterator[None]:
        """Hold one slot for the length of the `async with`."""
        if self.in_use < self.limit:
            self.in_use += 1
        else:
            await self._wait(lane, caller)
        try:
            yield
        finally:
            self._free()

    def resize(self, limit: int) -> None:
        """Change the limit. Slots beyond a lower one stay in use until they are free."""
        self.limit = limit
        self._hand_out()

    async def _wait(self, lane: Lane, caller: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not lane.waiting:
            self._turns.setdefault(caller, deque()).append(lane)
        lane.waiting.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot was ours already
                self._free()
            raise
        finally:
            self.waiting -= 1

    def _free(self) -> None:
        self.in_use -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self._turns and self.in_use < self.limit:
            turn = self._next()
            if not turn.done():
                self.in_use += 1
                turn.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        """Take the next request; its caller and its lane go to the end of their queues."""
        caller = next(iter(self._turns))
        lanes = self._turns.pop(caller)
        lane = lanes.popleft()
        turn = lane.waiting.popleft()
        if lane.waiting:
            lanes.append(lane)
        if lanes:
            self._turns[caller] = lanes
        return turn
