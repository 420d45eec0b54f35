"""The connections of a service's server: how many may be open at once."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol


class GuardedConnection(asyncio.Protocol):
    """What is added to uvicorn's protocol, of which each connection is an object.

    With `most` connections open, a new one closes that which has been idle for longest. Whoever holds connections
    without asking for anything therefore keeps nobody out, probes of the service's health least of all. When all others
    are at work, the new one itself is closed.
    """

    most: int
    waiting: "dict[GuardedConnection, None]"
    """Of all connections of the server those that may be idle, since when they are, the longest first."""
    connections: set[Any]
    cycle: Any
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, within the bound."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            leaving = self._longest_idle()
            # The server counts a connection until it hears of its end, which is later.
            self.connections.discard(leaving)
            leaving.transport.abort()
        self.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self.waiting.pop(self, None)
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Note since when the connection is idle."""
        self.waiting.pop(self, None)
        self.waiting[self] = None
        super().on_response_complete()  # type: ignore[misc]

    def _longest_idle(self) -> "GuardedConnection":
        # One that is at work is idle again when its answer is complete, and then the last.
        while self.waiting:
            longest = next(iter(self.waiting))
            del self.waiting[longest]
            if longest.cycle is None or longest.cycle.response_complete:
                return longest
        return self


def guarded_protocol(most: int) -> type[asyncio.Protocol]:
    """The protocol for `uvicorn.Config(http=...)`, with at most `most` connections."""
    return type("GuardedHttp", (GuardedConnection, AutoHTTPProtocol), {"most": most, "waiting": {}})
