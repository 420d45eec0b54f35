"""A bounded number of slots, shared fairly: a request of one item never waits behind a request of a thousand."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lane:
    """The waiting line of one HTTP request."""

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()


class FairSlots:
    """At most `limit` holders at a time. A freed slot goes to the next lane in turn, first come first served in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.waiting = 0
        self._turns: deque[Lane] = deque()

    @asynccontextmanager
    async def slot(self, lane: Lane) -> AsyncIterator[None]:
        """Hold one slot for the length of the `async with`."""
        if self.in_use < self.limit:
            self.in_use += 1
        else:
            await self._wait(lane)
        try:
            yield
        finally:
            self._hand_over()

    async def _wait(self, lane: Lane) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not lane.waiting:
            self._turns.append(lane)
        lane.waiting.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot had already been handed to us
                self._hand_over()
            raise
        finally:
            self.waiting -= 1

    def _hand_over(self) -> None:
        while self._turns:
            lane = self._turns.popleft()
            turn = lane.waiting.popleft()
            if lane.waiting:
                self._turns.append(lane)
            if not turn.done():
                turn.set_result(None)
                return
        self.in_use -= 1
