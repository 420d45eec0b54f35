"""What every request passes first: a request id, the API key, and the limit on the size of its body."""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfreward.auth import authorised
from services.judge.errors import error_response

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_OPEN = ("/healthz", "/readyz")


class Gate:
    """ASGI middleware. `scope["state"]["request_id"]` is the id; it goes back as `X-Request-Id`."""

    def __init__(self, app: ASGIApp, api_key: str | None, max_body_bytes: int) -> None:
        self.app = app
        self.api_key = api_key
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        if scope["path"] not in _OPEN and not authorised(headers, self.api_key):
            refused = error_response(
                401,
                "the API key is missing or wrong: send `Authorization: Bearer <key>`",
                "authentication_error",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refused(scope, receive, send_with_id)
            return
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            await error_response(413, self._too_large(), "invalid_request_error", code="request_too_large")(
                scope, receive, send_with_id
            )
            return
        await self.app(scope, self._counted(receive), send_with_id)

    def _too_large(self) -> str:
        return f"the body has more than {self.max_body_bytes} bytes: send fewer items in one request"

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return counted
