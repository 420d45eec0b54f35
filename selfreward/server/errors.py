"""Error answers of every service, as OpenAI clients read them: `{"error": {"message", "type", "param", "code"}}`."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Route

RETRY_AFTER_SECONDS = 2
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    499: "client_closed_request",
    503: "service_unavailable",
    504: "timeout_error",
}
_MAX_SHOWN = 80


class ApiError(Exception):
    """A request that is answered with an error of HTTP status `status`.

    The message says what is wrong and what to do, `param` names the field, `code` is stable for programs. `headers` are
    added to the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})


def error_type(status: int) -> str:
    """The `type` of an error of HTTP status `status`."""
    return _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def error_body(error: ApiError) -> dict[str, Any]:
    """The body of the answer to `error`, ready for JSON."""
    param = _sendable(error.param) if error.param else None
    fields = {"message": _sendable(str(error)), "type": error_type(error.status), "param": param, "code": error.code}
    return {"error": fields}


def error_response(error: ApiError) -> JSONResponse:
    """The answer to `error`. 429 and 503 say when to try again, in 2 s where the error itself says nothing else."""
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.status in (429, 503) else {}
    return JSONResponse(error_body(error), error.status, retry | error.headers)


def why_not_json(error: Exception) -> str:
    """What is wrong with a text over which `json.loads` raised `error` (ValueError or RecursionError)."""
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not {error.encoding.upper()}"
    # Python's own words for these name its settings.
    return "it is nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"


def not_json(error: Exception) -> ApiError:
    """400 for a body over which `json.loads` raised `error` (ValueError or RecursionError)."""
    return ApiError(400, f"the body is not JSON: {why_not_json(error)}: send UTF-8 JSON", code="invalid_json")


def invalid_request(error: RequestValidationError) -> ApiError:
    """422 with one line for each wrong field: its name, its value, what is wrong, what to do. 400 without JSON."""
    if isinstance(error.__cause__, json.JSONDecodeError):
        return not_json(error.__cause__)
    # FastAPI puts the part of the request first: body, query, path, header or cookie.
    problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]
    lines = list(dict.fromkeys(_line(problem) for problem in problems))
    return ApiError(422, "\n".join(lines), _path(problems[0]), "invalid_request")


def add_error_handlers(app: FastAPI) -> None:
    """Answer in the one error body: every ApiError, and what FastAPI refuses or fails at by itself."""

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(invalid_request(error))

    @app.exception_handler(HTTPException)
    async def of_framework(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400 and isinstance(error.__cause__, ValueError | RecursionError):
            return error_response(not_json(error.__cause__))
        return error_response(_named(request, error))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> JSONResponse:
        message = f"the service failed ({type(error).__name__}): try again, or see its log"
        return error_response(ApiError(500, message, code="internal_error"))


def _named(request: Request, error: HTTPException) -> ApiError:
    """A framework's error with the names of route and method, and what to do."""
    path, app = request.scope["path"], request.app
    if error.status_code == 404:
        document = f": see {app.openapi_url}" if app.openapi_url else ""
        return ApiError(404, f"{request.method} {path} is not a route of this service{document}", code="unknown_route")
    if error.status_code == 405:
        # The framework itself would name the methods of one of the path's routes only.
        routes = [route for route in app.routes if isinstance(route, Route) and route.path_regex.match(path)]
        allowed = ", ".join(sorted({method for route in routes for method in route.methods or ()}))
        message = f"{path} does not take {request.method}: use {allowed}"
        return ApiError(405, message, code="wrong_method", headers={"Allow": allowed})
    return ApiError(error.status_code, str(error.detail), headers=error.headers)


def _sendable(text: str) -> str:
    """Lone surrogates, which JSON can carry in and UTF-8 cannot carry out, are shown escaped."""
    return text.encode(errors="backslashreplace").decode()


def _path(problem: Mapping[str, Any]) -> str:
    """Dotted name of the field."""
    return ".".join(str(part) for part in problem["loc"]) or "(body)"


def _line(problem: Mapping[str, Any]) -> str:
    path, kind = _path(problem), problem["type"]
    if kind == "missing":
        return f"{path} is missing: add it"
    if kind == "extra_forbidden":
        return f"{path} is not a field: check its spelling, or leave it out"
    if isinstance(problem.get("input"), bytes):
        return f"{path} is not announced as JSON: send Content-Type: application/json"
    shown = repr(problem.get("input"))
    shown = shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
    return f"{path} = {shown}: {problem['msg'].removeprefix('Value error, ')}"
