"""Error answers, in the shape that OpenAI clients read: `{"error": {"message", "type", "param", "code"}}`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.exceptions import RedisError
from starlette.responses import JSONResponse, Response

_SHOWN = 80
_TEXT_FIELDS = ("prompt", "response", "a", "b")


def error_response(
    status: int,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error of HTTP status `status`. `message` says what is wrong and what to do; `param` names the field."""
    body = {"error": {"message": _sendable(message), "type": kind, "param": param and _sendable(param), "code": code}}
    return JSONResponse(body, status, dict(headers) if headers else None)


def invalid_request(problems: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """422 with one line for each field that pydantic refused: name, value, what is wrong, what to do."""
    lines = list(dict.fromkeys(_line(problem) for problem in problems))
    return error_response(
        422, "\n".join(lines), "invalid_request_error", param=_path(problems[0]), code="invalid_request"
    )


def _sendable(text: str) -> str:
    """Lone surrogates, which JSON can carry in and UTF-8 cannot carry out, are shown escaped."""
    return text.encode(errors="backslashreplace").decode()


def _path(problem: Mapping[str, Any]) -> str:
    """Dotted name of the field; the branches of a union (text or messages) are not part of it."""
    parts = [str(part) for part in problem["loc"] if part != "body"]
    for index, part in enumerate(parts):
        if part in _TEXT_FIELDS and parts[index + 1 : index + 2] in (["str"], ["list[Message]"]):
            return ".".join(parts[: index + 1] + parts[index + 2 :])
    return ".".join(parts) or "(body)"


def _line(problem: Mapping[str, Any]) -> str:
    path, kind = _path(problem), problem["type"]
    if kind == "missing":
        return f"{path} is missing: add it"
    if kind == "extra_forbidden":
        return f"{path} is not a field: check its spelling, or leave it out"
    if kind == "json_invalid":
        return f"the body is not valid JSON: {problem.get('ctx', {}).get('error', problem['msg'])}"
    shown = repr(problem.get("input"))
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    if path.rsplit(".", 1)[-1] in _TEXT_FIELDS and kind in ("string_type", "list_type"):
        return f"{path} = {shown}: give a string, or a list of messages {{role, content}}"
    return f"{path} = {shown}: {problem['msg'].removeprefix('Value error, ')}"


_SECONDS = 5.0


@asynccontextmanager
async def redis_needed(what: str) -> AsyncIterator[None]:
    """Within it, a Redis that fails or takes longer than a few seconds is Refused (503); `what` is what needs it."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        message = (
            f"{what} need Redis, which does not answer ({type(error).__name__}): try again, or check "
            "SELFREWARD_REDIS_URL; POST /v1/judge works without it"
        )
        again = {"Retry-After": "5"}
        raise Refused(
            error_response(503, message, "service_unavailable", code="redis_unavailable", headers=again)
        ) from error


class Refused(Exception):
    """A request that is answered with an error; carries the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


def invalid_fields(problems: Sequence[tuple[str, str]]) -> Refused:
    """422 for (field, what is wrong and what to do) of each problem."""
    message = "\n".join(line for _, line in problems)
    return Refused(error_response(422, message, "invalid_request_error", param=problems[0][0], code="invalid_request"))


def conflict(field: str, message: str, code: str) -> Refused:
    """409: what is there stands against it."""
    return Refused(error_response(409, message, "conflict_error", param=field, code=code))


def overloaded(waiting: int) -> Refused:
    """429: more work is waiting than is taken on."""
    message = f"{waiting} items are already waiting for the judging engine: try again, or run more replicas"
    return Refused(error_response(429, message, "rate_limit_error", code="overloaded", headers={"Retry-After": "1"}))
