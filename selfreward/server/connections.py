"""The connections of a service's server: how many may be open, and how long and how large a request's head may be."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_SECONDS = 20.0
HEAD_BYTES = 64 << 10
HEADERS = 100
# What frames a byte of a body, where each comes in a chunk of its own.
_FRAME_BYTES = 16


class GuardedConnection(asyncio.Protocol):
    """What is added to uvicorn's protocol, of which each connection is an object.

    With `most` connections open, a new one closes that which has been idle for longest. Whoever holds connections
    without asking for anything therefore keeps nobody out, probes of the service's health least of all. When all others
    are at work, the new one itself is closed.

    A request's head must be complete `HEAD_SECONDS` after the connection or its first byte came.
    """

    most: int
    waiting: "dict[GuardedConnection, None]"
    """Of all connections of the server those that may be idle, since when they are, the longest first."""
    connections: set[Any]
    cycle: Any
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection, within the bound."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            leaving = self._longest_idle()
            # The server counts a connection until it hears of its end, which is later.
            self.connections.discard(leaving)
            leaving.transport.abort()
        self.waiting[self] = None
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def data_received(self, data: bytes) -> None:
        """Read what came; while no request is complete, its deadline runs."""
        super().data_received(data)
        if not self.is_idle():
            self._in_time()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def is_idle(self) -> bool:
        """Whether no request of this connection is at work."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _late(self) -> None:
        self._deadline = None
        if self.is_idle():
            self.transport.abort()

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._in_time()
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
            if longest.is_idle():
                return longest
        return self


class BoundedHead(asyncio.Protocol):
    """What is added for httptools, which takes heads of any size; h11 has bounds of its own.

    Counted is everything that is no body: the first line, headers, trailers, and what frames the chunks of a body, but
    for the read in which a message begins, which may also have the end of another.
    """

    transport: asyncio.Transport
    _received = 0
    _body = 0
    _headers = 0

    def data_received(self, data: bytes) -> None:
        """Read what came, unless it makes too much of a head."""
        self._received += len(data)
        super().data_received(data)
        if self._received - (1 + _FRAME_BYTES) * self._body > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Count anew."""
        self._received = self._body = self._headers = 0
        super().on_message_begin()  # type: ignore[misc]

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. The error for one too many makes the parser stop, and the request one that cannot be read."""
        self._headers += 1
        if self._headers > HEADERS:
            raise ValueError(f"more than {HEADERS} headers")
        super().on_header(name, value)  # type: ignore[misc]

    def on_body(self, body: bytes) -> None:
        """Count a part of the body."""
        self._body += len(body)
        super().on_body(body)  # type: ignore[misc]


_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


def guarded_protocol(most: int, base: type[asyncio.Protocol] = AutoHTTPProtocol) -> type[asyncio.Protocol]:
    """The protocol for `uvicorn.Config(http=...)`, with at most `most` connections. `base` is uvicorn's own.

    That is httptools' where it is installed, as beside vLLM, and else h11's.
    """
    bounds = (BoundedHead,) if hasattr(base, "on_message_begin") else ()
    return type("GuardedHttp", (GuardedConnection, *bounds, base), {"most": most, "waiting": {}})
