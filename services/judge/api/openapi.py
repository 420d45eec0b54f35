"""The OpenAPI document: what FastAPI derives from the routes, with the error answers and an example of each request.

All routes of a kind have the same errors, so they are written here once and not at each route.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

_OPEN = ("/healthz", "/readyz")
_KEYED = ("/v1/judge", "/v1/jobs", "/v1/batches")
_IN_REDIS = ("/v1/jobs", "/v1/batches", "/v1/files")
_RETRY = {"Retry-After": {"description": "Seconds to wait before another try.", "schema": {"type": "string"}}}
_ERRORS: dict[int, tuple[str, str, str]] = {
    400: (
        "The body cannot be read.",
        "invalid_request_error",
        "the body is not JSON: byte 0 is not UTF-8: send UTF-8 JSON",
    ),
    401: (
        "The API key is missing or wrong.",
        "authentication_error",
        "the API key is missing or wrong: send `Authorization: Bearer <key>`",
    ),
    404: (
        "There is no such rubric, job or model.",
        "not_found_error",
        "rubric 'nosuch' is not known: use one of additive5@sha256:0123456789ab",
    ),
    409: (
        "Another policy version is served than is pinned, or a request with this Idempotency-Key is in progress.",
        "conflict_error",
        "the request pins policy@3, and the engine does not serve one version for all items: try again",
    ),
    413: (
        "The body is too large.",
        "invalid_request_error",
        "the body has more than 16777216 bytes: send less in one request, or raise SELFREWARD_JUDGE_MAX_BODY_BYTES",
    ),
    422: (
        "A field is wrong, or an item has no score and the contract cannot say so; the message names it.",
        "invalid_request_error",
        "items.0.response is missing: add it",
    ),
    424: (
        "The judging engine refuses every request until the setting that the message names is mended.",
        "invalid_request_error",
        "the judging engine refuses the key: mend SELFREWARD_JUDGE_ENGINE_KEY: HTTP 401",
    ),
    429: (
        "A limit of the key is reached, or too many items are waiting.",
        "rate_limit_error",
        "8192 items are already waiting for the judging engine: try again, or run more replicas",
    ),
    499: ("The client went away; nobody sees this answer.", "client_closed_request", "the client went away"),
    503: (
        "The judging engine, or what else the route needs, does not answer.",
        "service_unavailable",
        "the judging engine answered none of the items: HTTP 500",
    ),
}
_ERROR_SCHEMA = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "The field, its value and the remedy."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "Dotted name of the field."},
                "code": {"type": ["string", "null"], "description": "Stable; for programs."},
            },
        }
    },
}
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key with the same body gets the same answer again, marked `Idempotent-Replayed: true`.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}
_PROMPT = "Use 7 3 12 to make 33 ."
_GOOD = "7 * 3 = 21 ; 21 + 12 = 33"
_BAD = "7 + 3 = 11"
_ITEM = {"prompt": _PROMPT, "response": _GOOD}
_BATCH = {"rubric": "countdown", "votes": 3, "seed": 1, "items": [_ITEM, {**_ITEM, "id": "bad", "response": _BAD}]}
_SCORE = {"model": "countdown", "text_1": _PROMPT, "text_2": [_GOOD, _BAD]}
_RERANK = {"model": "countdown", "query": _PROMPT, "documents": [_BAD, _GOOD], "top_n": 1}
_VERIFY = {
    "responses_create_params": {"input": [{"role": "user", "content": _PROMPT}]},
    "response": {
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": _GOOD}]}]
    },
}
EXAMPLES: dict[str, Any] = {
    "/v1/judge": _BATCH,
    "/v1/judge/pairwise": {"rubric": "pairwise", "seed": 1, "items": [{"prompt": _PROMPT, "a": _GOOD, "b": _BAD}]},
    "/v1/judge/meta": {
        "rubric": "meta",
        "items": [{**_ITEM, "judgment_a": "All steps are right. Score: 5", "judgment_b": "It is short. Score: 2"}],
    },
    "/v1/judge/rank": {"rubric": "countdown", "items": [{"prompt": _PROMPT, "candidates": [_BAD, _GOOD]}]},
    "/v1/jobs": _BATCH,
    "/v1/rubrics/{rubric_id}/prompt": {"items": [_ITEM]},
    "/score": _SCORE,
    "/v1/score": _SCORE,
    "/rerank": _RERANK,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/get_reward": {"query": [_PROMPT + _GOOD], "prompts": [_PROMPT], "labels": [""]},
    "/compat/slime": {"prompt": _PROMPT, "response": _GOOD, "label": None},
    "/verify": _VERIFY,
    "/compare": {
        "conversation_history": [{"role": "user", "content": _PROMPT}],
        "response_objs": [_VERIFY["response"], {"output": [{"type": "message", "content": _BAD}]}],
    },
}
"""An example body for each POST route, by path. Each is answered as it stands."""


def add_openapi(app: FastAPI) -> None:
    """Make `app` serve the complete document at `/openapi.json`."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(get_openapi(title=app.title, version=app.version, routes=app.routes))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def contract_of(app: FastAPI, path: str) -> str:
    """The metric label of a path's contract: the tag of its route, or `native` where it has no tag."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path == path and route.tags:
            return str(route.tags[0])
    return "native"


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Error"] = _ERROR_SCHEMA
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path not in _OPEN:
                operation["security"] = [{"key": []}]
            for status in _statuses(path, method, bool(operation.get("parameters"))):
                operation["responses"][str(status)] = _error(status)
            if method == "post" and path in _KEYED:
                operation.setdefault("parameters", []).append(_KEY_PARAMETER)
            if path in EXAMPLES and method == "post":
                operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[path]
    return document


def _statuses(path: str, method: str, parameters: bool) -> list[int]:
    """The error statuses of a route. A POST judges; a GET or DELETE looks something up."""
    if path in _OPEN:
        return [503] if path == "/readyz" else []
    if method in ("post", "put", "patch"):
        return sorted(_ERRORS)
    not_found = [404] if "{" in path else []
    return [401, *not_found, *([422] if parameters else []), *([503] if path.startswith(_IN_REDIS) else [])]


def _error(status: int) -> dict[str, Any]:
    description, kind, message = _ERRORS[status]
    example = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": example}}
    return {
        "description": description,
        "content": content,
        **({"headers": _RETRY} if status in (409, 429, 503) else {}),
    }
