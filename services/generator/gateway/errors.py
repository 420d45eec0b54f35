"""OpenAI-shaped errors: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping

from starlette.responses import JSONResponse

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 409: "conflict_error"}
_TYPES |= {403: "permission_error", 413: "invalid_request_error", 422: "invalid_request_error", 429: "rate_limit_error"}
RETRY_AFTER_SECONDS = 2


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
