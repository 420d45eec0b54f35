"""The gate between clients and the engine: closed while weights change, so that each request runs on known weights."""

import asyncio
from dataclasses import dataclass


class GateFull(RuntimeError):
    """Too many requests are in flight or waiting (HTTP 429)."""


class GateTimeout(RuntimeError):
    """The gate did not open in time (HTTP 503)."""


@dataclass(eq=False)
class Ticket:
    """The admission of one request. Until it is released, the engine keeps the weights `label`.

    `aborted`: a swap could not wait any longer and had the engine end the request early.
    """

    label: str
    url: str
    aborted: bool = False


class Gate:
    """Admits up to `max_inflight` requests while it is open.

    While it is closed, up to `max_queued` requests wait for at most `queue_seconds`. `reason` says why it is closed,
    None while it is open.
    """

    def __init__(self, max_inflight: int, max_queued: int, queue_seconds: float) -> None:
        self.reason: str | None = "starting"
        self.label = ""
        self.queued = 0
        self._url = ""
        self._limits = (max_inflight, max_queued, queue_seconds)
        self._tickets: set[Ticket] = set()
        self._opened = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def inflight(self) -> int:
        """Requests that are with the engine."""
        return len(self._tickets)

    def open(self, label: str, url: str) -> None:
        """Admit requests to the engine at `url`, which serves `label`."""
        self.reason, self.label, self._url = None, label, url
        self._opened.set()

    def close(self, reason: str) -> None:
        """Hold back new requests; those in flight continue."""
        self.reason = reason
        self._opened.clear()

    async def admit(self) -> Ticket:
        """Wait for the gate to be open. Raises GateFull or GateTimeout."""
        max_inflight, max_queued, queue_seconds = self._limits
        if not self._opened.is_set():
            if self.queued >= max_queued:
                raise GateFull(f"{self.queued} requests are already waiting ({self.reason}); try again later")
            self.queued += 1
            try:
                async with asyncio.timeout(queue_seconds):
                    while not self._opened.is_set():
                        await self._opened.wait()
            except TimeoutError:
                raise GateTimeout(f"not serving after {queue_seconds:g} s: {self.reason}") from None
            finally:
                self.queued -= 1
        if len(self._tickets) >= max_inflight:
            raise GateFull(f"{len(self._tickets)} requests are in flight, as many as are allowed; try again later")
        ticket = Ticket(self.label, self._url)
        self._tickets.add(ticket)
        self._empty.clear()
        return ticket

    def release(self, ticket: Ticket) -> None:
        """Note that the engine is done with the request. Releasing it twice is harmless."""
        self._tickets.discard(ticket)
        if not self._tickets:
            self._empty.set()

    async def drained(self, seconds: float) -> bool:
        """Wait up to `seconds` until nothing is in flight. True if that happened."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def mark_aborted(self) -> None:
        """Mark every request in flight: its answer may be cut short."""
        for ticket in self._tickets:
            ticket.aborted = True
