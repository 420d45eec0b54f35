"""ASGI middleware that bounds the bodies of all requests, before anything parses them."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class BodyLimit:
    """Answers 413 to a body of more than `most` bytes, whether its length is announced or not.

    The application gets a body only when all of it has arrived. `setting` is the limit's environment variable, for the
    operator who may raise it.
    """

    def __init__(self, app: App, most: int, setting: str) -> None:
        self._app = app
        self._most = most
        self._setting = setting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced(scope) > self._most:
            await self._refuse(send)
            return
        messages: list[Message] = []
        received, more = 0, True
        while more:
            messages.append(await receive())
            received += len(messages[-1].get("body", b""))
            more = messages[-1].get("more_body", False)
            if received > self._most:
                await self._refuse(send)
                return

        async def replayed() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replayed, send)

    async def _refuse(self, send: Send) -> None:
        text = f"the body has more than {self._most} bytes: send a shorter one, or raise {self._setting}"
        error = {"message": text, "type": "invalid_request_error", "param": None, "code": "body_too_long"}
        content = json.dumps({"error": error}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        # What the client still sends is not read, so no other request can come on this connection.
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _announced(scope: Scope) -> int:
    """The `Content-Length`, 0 when there is none that is a number: then the body is counted as it comes."""
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() else 0
