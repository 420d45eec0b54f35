"""The gate between users and the engine: closed while weights change, and what each request ran on is known."""

import asyncio
from dataclasses import dataclass


class GateFull(RuntimeError):
    """Too many requests are in flight or waiting (HTTP 429)."""


class GateTimeout(RuntimeError):
    """The gate did not open in time (HTTP 503)."""


@dataclass(eq=False)
class Ticket:
    """Admission of one request. Until it is released the weights, and so `label`, stay what they are.

    `aborted`: a swap could not wait any longer and had the engine end the request early.
    """

    label: str
    url: str
    aborted: bool = False


class Gate:
    """Admits requests while open; holds them back, up to a bound and a deadline, while closed."""

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
        """Hold back new requests; those in flight go on."""
        self.reason = reason
        self._opened.clear()

    async def admit(self) -> Ticket:
        """Wait for the gate to be open. Raises GateFull or GateTimeout."""
        max_inflight, max_queued, queue_seconds = self._limits
        if not self._opened.is_set():
            if self.queued >= max_queued:
                raise GateFull(f"{self.queued} requests wait already ({self.reason}); try again later")
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
            raise GateFull(f"{len(self._tickets)} requests are in flight, the most allowed; try again later")
        ticket = Ticket(self.label, self._url)
        self._tickets.add(ticket)
        self._empty.clear()
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The engine is done with the request. Releasing twice is harmless."""
        self._tickets.discard(ticket)
        if not self._tickets:
            self._empty.set()

    async def drained(self, seconds: float) -> bool:
        """Wait up to `seconds` until nothing is in flight; whether that came true."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def mark_aborted(self) -> None:
        """Note on every request in flight that its answer may be cut short."""
        for ticket in self._tickets:
            ticket.aborted = True
