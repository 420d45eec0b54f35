"""The lines of a batch: read a request, answer it as the route itself would, and write the answer as a line."""

import asyncio
import json
import time
import uuid
from collections.abc import MutableMapping
from typing import Any, NamedTuple

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from selfreward.backoff import backoff
from selfreward.client.http import RETRIED_STATUSES, ServiceError
from selfreward.contracts.conversations import NotText, conversation
from selfreward.server.errors import ApiError, error_body, why_not_json
from selfreward.server.keys import Key
from services.judge.engine.engine import Engine
from services.judge.engine.slots import Lane

CHAT = "/v1/chat/completions"
ROUTES = (
    "/v1/judge",
    "/v1/judge/pairwise",
    "/v1/judge/meta",
    "/v1/judge/rank",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/verify",
    "/compare",
)
"""The routes that the lines of a batch may be for, besides CHAT, which the engine answers."""
# What a chat request may have: what samples, and nothing that loads code or reaches other hosts.
_CHAT_FIELDS = {
    *("model", "messages", "n", "seed", "stop", "stream", "user", "metadata", "store", "service_tier"),
    *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "reasoning_effort"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("response_format", "structured_outputs", "tools", "tool_choice", "parallel_tool_calls"),
}
# Refusals of the moment: they say nothing about the line, which waits until they are over or the batch expires.
_AWAY = ("engine_unavailable", "overloaded", "wrong_policy_version")
_EXPIRED = ("batch_expired", "the batch expired before there was an answer: send the line again")
_ATTEMPTS = 3
_LONGEST_WAIT_SECONDS = 30.0
_PIN_WAIT_SECONDS = 300.0


class Answered(NamedTuple):
    """A line of the output file, or, where it is not `ok`, of the error file."""

    text: str
    ok: bool


class BatchLine(NamedTuple):
    """A request as its line says it. Where `problem` says why it is none, the other fields are what can be read."""

    name: str | None
    url: str
    body: dict[str, Any]
    problem: tuple[str, str] | None = None


def requests_in(text: str) -> list[str]:
    """The lines of a text that are not blank."""
    return [line for line in text.removeprefix("\ufeff").split("\n") if line.strip()]


def read_line(line: str, endpoint: str) -> BatchLine:
    """Read one line of a batch's file. Never raises."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BatchLine(None, "", {}, ("invalid_json_line", f"the line is not JSON: {why_not_json(error)}"))
    if not isinstance(values, dict):
        return BatchLine(None, "", {}, ("invalid_request", "the line is no object: write custom_id, method, url, body"))
    name, method, url, body = (values.get(key) for key in ("custom_id", "method", "url", "body"))
    problem = None
    if not isinstance(name, str) or not name or not name.isprintable():
        problem = (
            "missing_required_parameter",
            f"custom_id = {name!r:.60}: give each line a printable text of its own",
        )
        name = None
    elif method != "POST":
        problem = ("invalid_method", f"method = {method!r:.60}: write POST")
    elif not isinstance(url, str) or url.partition("?")[0] != endpoint:
        problem = ("invalid_url", f"url = {url!r:.60}: write the batch's endpoint, {endpoint}")
    elif not isinstance(body, dict):
        problem = ("missing_required_parameter", f"body = {body!r:.60}: write the request as an object")
    return BatchLine(name, str(url), body if isinstance(body, dict) else {}, problem)


def expired_line(batch_id: str, position: int, line: str) -> Answered:
    """The line of the error file for a request that had no answer when the batch expired."""
    return _failed(batch_id, position, read_line(line, "").name, *_EXPIRED)


def repeated_line(batch_id: str, position: int, name: str) -> Answered:
    """The line of the error file for a request whose id an earlier line has."""
    return _failed(batch_id, position, name, "duplicate_custom_id", f"custom_id = {name!r}: an earlier line has it")


class LineAnswerer:
    """Answers lines through the routes of `app` in this process, as the API key that made the batch."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self.engine = engine

    async def answer(self, batch_id: str, position: int, line: BatchLine, owner: str, expires_at: float) -> Answered:
        """The answer to a line. Waits while the engine is away, until the batch expires."""
        if line.problem is not None:
            return _failed(batch_id, position, line.name, *line.problem)
        request_id = f"{batch_id}-{position}"
        waits, started, attempt = backoff(0.5, _LONGEST_WAIT_SECONDS), time.monotonic(), 0
        while True:
            status, body = await (self._chat if line.url == CHAT else self._post)(line, owner, request_id)
            code = (body.get("error") or {}).get("code") if isinstance(body, dict) else None
            away = code in _AWAY and (code != "wrong_policy_version" or time.monotonic() - started < _PIN_WAIT_SECONDS)
            attempt += not away
            if status not in RETRIED_STATUSES | {409} or attempt == _ATTEMPTS:
                break
            if time.time() > expires_at:
                return _failed(batch_id, position, line.name, *_EXPIRED)
            await asyncio.sleep(next(waits))
        response = {"status_code": status, "request_id": request_id, "body": body}
        return Answered(_line(batch_id, position, line.name, response, None), 200 <= status < 300)

    async def _post(self, line: BatchLine, owner: str, request_id: str) -> tuple[int, Any]:
        """Status and body of the route's answer."""
        # The transport alone, since httpx's client logs each request. ASCII, since a body may hold half an emoji.
        transport = httpx.ASGITransport(_as_owner(self.app, owner))
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        content = json.dumps(line.body)
        request = httpx.Request("POST", f"http://judge{line.url}", content=content, headers=headers)
        reply = await transport.handle_async_request(request)
        return reply.status_code, json.loads(await reply.aread())

    async def _chat(self, line: BatchLine, owner: str, request_id: str) -> tuple[int, Any]:
        """Status and body of the engine's answer, or of our refusal."""
        try:
            _check_chat(line.body)
            async with self.engine.slots.slot(Lane(), f"{owner} (batches)"):
                headers = {"X-Request-Id": request_id}
                reply = await self.engine.service.request("POST", "/chat/completions", json=line.body, headers=headers)
        except ApiError as error:
            return error.status, error_body(error)
        except ServiceError as error:
            away = error.status is None or error.status in RETRIED_STATUSES
            refusal = ApiError(error.status or 503, str(error), code="engine_unavailable" if away else "engine_refused")
            return refusal.status, error_body(refusal)
        except ValueError as error:  # NaN, or half of a surrogate pair
            refusal = ApiError(400, f"body has no form in JSON ({error}): correct it", "body", "invalid_request")
            return refusal.status, error_body(refusal)
        try:
            return reply.status_code, reply.json()
        except ValueError:
            return 502, error_body(ApiError(502, "the engine did not answer with JSON: see its log", code="bad_answer"))


def _check_chat(body: dict[str, Any]) -> None:
    unknown = sorted(set(body) - _CHAT_FIELDS)
    if unknown:
        raise ApiError(400, f"body.{unknown[0]} may not be sent in a batch: leave it out", f"body.{unknown[0]}")
    if body.get("stream"):
        raise ApiError(400, "body.stream = True: a batch has whole answers, leave it out", "body.stream")
    try:
        conversation(body.get("messages"), "body.messages")
    except NotText as error:
        raise ApiError(400, str(error), "body.messages") from None


def _as_owner(app: ASGIApp, owner: str) -> ASGIApp:
    """The application, called as by the API key `owner` with no limits of its own, in the background."""
    key = Key(name=owner, sha256="0" * 64)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        state: MutableMapping[str, Any] = {"key": key, "background": True}
        await app({**scope, "state": state}, receive, send)

    return call


def _failed(batch_id: str, position: int, name: str | None, code: str, message: str) -> Answered:
    where = f"line {position + 1}: {message}"
    return Answered(_line(batch_id, position, name, None, {"code": code, "message": where}), ok=False)


def _line(
    batch_id: str, position: int, name: str | None, response: dict[str, Any] | None, error: dict[str, str] | None
) -> str:
    line = {"id": f"batch_req_{uuid.uuid5(uuid.NAMESPACE_OID, f'{batch_id}/{position}').hex}", "custom_id": name}
    # ASCII: a line separator of Unicode within a text must not end the line for readers that split at it.
    return json.dumps({**line, "response": response, "error": error}) + "\n"
