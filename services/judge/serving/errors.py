"""Error answers, in the shape that OpenAI clients read: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

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
