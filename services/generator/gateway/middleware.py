"""What holds for every request: the API key and its scope, the request id, the version header, the count."""

import re
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfreward.server.keys import LiveKeyring, denial
from selfreward.server.keys import Scope as KeyScope
from services.generator import metrics

_OPEN = ("/healthz", "/readyz")
_ANY_KEY = ("/metrics", "/openapi.json")
_REQUEST_ID = re.compile(r"^[\x21-\x7e]{1,128}$")
_COUNTED = ("/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/v1/models", "/admin/weights")


class Boundary:
    """Plain ASGI, so that streams and disconnects pass through it untouched."""

    def __init__(self, app: ASGIApp, keyring: LiveKeyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        path = str(scope["path"])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                metrics.REQUESTS.labels(path if path in _COUNTED else "other", str(message["status"])).inc()
            await send(message)

        denied = denial(self._keyring.find(headers), needed_scope(str(scope["method"]), path))
        if path not in _OPEN and denied:
            error = ApiError(denied.status, denied.message, code=denied.code)
            await error_response(error, denied.headers)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def needed_scope(method: str, path: str) -> KeyScope | None:
    """The scope that a route needs; None: any known key will do. What is served may be seen with `infer`."""
    if path in _ANY_KEY:
        return None
    return "admin" if path.startswith("/admin/") and method not in ("GET", "HEAD") else "infer"


_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 409: "conflict_error"}


RETRY_AFTER_SECONDS = 2


_TYPES |= {403: "permission_error", 413: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request that is answered with an error. `param` names the field, `code` is stable for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The JSON answer, with `headers`; 429 and 503 say when to try again."""
    body = {
        "message": str(error),
        "type": _TYPES.get(error.status, "server_error"),
        "param": error.param,
        "code": error.code,
    }
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in (429, 503) else {}
    return JSONResponse({"error": body}, status_code=error.status, headers={**retry, **(headers or {})})
