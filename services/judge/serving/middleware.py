"""What every request passes first: a request id, the API key and its scope, and the limit on the size of its body."""

import re
import uuid
from collections.abc import Sequence

from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfreward.server.keys import Key, Keyring, LiveKeyring, denial
from selfreward.server.keys import Scope as KeyScope
from services.judge.metrics import REFUSED
from services.judge.serving.errors import error_response

_REQUEST_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_OPEN = ("/healthz", "/readyz")
_ANY_KEY = ("/metrics", "/openapi.json")


class Gate:
    """ASGI middleware. `request.state` then has `request_id`, which goes back as `X-Request-Id`, and the `key`.

    Routes declared with `openapi_extra={"x-scope": "admin"}` need that scope, metrics and the OpenAPI document any
    known key, all others `judge`.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring | LiveKeyring, routes: Sequence[BaseRoute], max_body_bytes: int
    ) -> None:
        self.app = app
        self.keyring = keyring
        self.max_body_bytes = max_body_bytes
        # The application has all its routes by the time its first request builds the middleware.
        self.admin_routes = [
            route
            for route in routes
            if isinstance(route, APIRoute) and (route.openapi_extra or {}).get("x-scope") == "admin"
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        key = self.keyring.find(headers)
        state = scope.setdefault("state", {})
        state |= {"request_id": request_id, "key": key}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        refused = None if scope["path"] in _OPEN else self._refusal(scope, headers, key)
        if refused is not None:
            await refused(scope, receive, send_with_id)
            return
        await self.app(scope, self._counted(receive), send_with_id)

    def _refusal(self, scope: Scope, headers: Headers, key: Key | None) -> Response | None:
        needed: KeyScope | None = "admin" if self._is_admin(scope) else "judge"
        denied = denial(key, None if scope["path"] in _ANY_KEY else needed)
        name = key.name if key else ""
        if denied:
            REFUSED.labels(name, "forbidden" if key else "unauthenticated").inc()
            return error_response(denied.status, denied.message, denied.kind, code=denied.code, headers=denied.headers)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body_bytes:
            REFUSED.labels(name, "too_large").inc()
            return error_response(413, self._too_large(), "invalid_request_error", code="request_too_large")
        return None

    def _is_admin(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self.admin_routes)

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
