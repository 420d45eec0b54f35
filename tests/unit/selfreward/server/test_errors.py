"""Every error of every service has one body, whoever raised it."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import Field

from selfreward.contracts.base import Contract
from selfreward.contracts.conversations import Conversation
from selfreward.server.errors import ApiError, add_error_handlers, error_response


class Body(Contract):
    """A text or messages, and a number."""

    prompt: Conversation
    votes: int = Field(default=3, ge=1)


def service() -> FastAPI:
    app = FastAPI()
    add_error_handlers(app)

    @app.post("/v1/judge")
    async def judge(body: Body) -> str:
        raise ApiError(409, f"votes = {body.votes}: \ud800", "votes", "conflict", {"X-More": "1"})

    @app.get("/v1/judge")
    async def see(limit: int = 1) -> float:
        return 1 / limit

    @app.delete("/v1/judge")
    async def drop() -> None:
        return None

    return app


def call(method: str, path: str, **content: Any) -> httpx.Response:
    async def scenario() -> httpx.Response:
        transport = httpx.ASGITransport(service(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **content)

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (413, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "service_unavailable"),
        (504, "timeout_error"),
        (507, "server_error"),
    ],
)
def test_the_type_follows_from_the_status(status: int, kind: str) -> None:
    answer = error_response(ApiError(status, "what is wrong"))

    assert answer.status_code == status
    body = {"message": "what is wrong", "type": kind, "param": None, "code": None}
    assert json.loads(bytes(answer.body)) == {"error": body}
    assert answer.headers.get("retry-after") == ("2" if status in (429, 503) else None)


def test_an_error_may_say_itself_when_to_try_again() -> None:
    assert error_response(ApiError(503, "away", headers={"Retry-After": "5"})).headers["retry-after"] == "5"


def test_an_error_of_a_route_is_answered_as_raised() -> None:
    answer = call("POST", "/v1/judge", json={"prompt": "p"})

    assert (answer.status_code, answer.headers["x-more"]) == (409, "1")
    assert answer.json()["error"] == {
        "message": "votes = 3: \\ud800",
        "type": "conflict_error",
        "param": "votes",
        "code": "conflict",
    }


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "param", "code", "message"),
    [
        (
            "POST",
            "/v1/judge",
            {"json": {"prompt": 5, "votes": 0}},
            422,
            "prompt",
            "invalid_request",
            "prompt = 5: give a text, or a list of messages with role and content\n"
            "votes = 0: Input should be greater than or equal to 1",
        ),
        (
            "POST",
            "/v1/judge",
            {"content": b"{", "headers": {"Content-Type": "application/json"}},
            400,
            None,
            "invalid_json",
            "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1): "
            "send UTF-8 JSON",
        ),
        (
            "POST",
            "/v1/judge",
            {"content": b'{"prompt": "p"}'},
            422,
            "(body)",
            "invalid_request",
            "(body) is not announced as JSON: send Content-Type: application/json",
        ),
        ("POST", "/v1/judge", {"json": {}}, 422, "prompt", "invalid_request", "prompt is missing: add it"),
        (
            "GET",
            "/v1/judge?limit=x",
            {},
            422,
            "limit",
            "invalid_request",
            "limit = 'x': Input should be a valid integer, unable to parse string as an integer",
        ),
        (
            "GET",
            "/nowhere",
            {},
            404,
            None,
            "unknown_route",
            "GET /nowhere is not a route of this service: see /openapi.json",
        ),
        ("PUT", "/v1/judge", {}, 405, None, "wrong_method", "/v1/judge does not take PUT: use DELETE, GET, POST"),
        (
            "GET",
            "/v1/judge?limit=0",
            {},
            500,
            None,
            "internal_error",
            "the service failed (ZeroDivisionError): try again, or see its log",
        ),
    ],
)
def test_what_the_framework_refuses_has_the_same_body(
    method: str, path: str, content: dict[str, Any], status: int, param: str | None, code: str, message: str
) -> None:
    answer = call(method, path, **content)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["param"], error["code"], error["message"]) == (param, code, message)
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers.get("allow") == ("DELETE, GET, POST" if status == 405 else None)
