"""`Idempotency-Key`: a request that is sent twice is served once, and its answer is sent twice.

The first request reserves its key by a lease in Redis, which it renews while it is served; after the death of a judge
the lease ends within `_LEASE_SECONDS`. A successful answer is stored and replayed. After an error the key is free
again, so that a retry really tries. Without Redis a request is served as if it had no key: judging twice does no harm,
and the routes of jobs and batches, where it would, refuse requests by themselves.
"""

import asyncio
import hashlib
import json
import logging
import secrets
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX
from selfreward.server.errors import ApiError, error_response

PATHS = ("/v1/judge", "/v1/jobs", "/v1/batches")
_LEASE_SECONDS = 30
_REDIS_SECONDS = 3.0
_MOST_CHARACTERS = 255
_KEPT_HEADERS = ("content-type", "location", "x-selfreward-policy-version")
_log = logging.getLogger(__name__)

# Only the request that made a reservation may renew it, replace it by the answer, or drop it.
_UPDATE_IF_OWNER = """
local held = redis.call('GET', KEYS[1])
if not held or cjson.decode(held).owner ~= ARGV[1] then return 0 end
if ARGV[2] == 'renew' then return redis.call('EXPIRE', KEYS[1], ARGV[3]) end
if ARGV[2] == 'drop' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
"""


def name_of(request: Request) -> str:
    """The request's own name: the same if it is sent again with its idempotency key, and a new one without a key."""
    return getattr(request.state, "idempotency", None) or uuid.uuid4().hex


class Idempotency:
    """ASGI middleware for POST on `PATHS`.

    `scope["state"]["idempotency"]` is a name of the request, from which the routes derive the ids of what they create.
    """

    def __init__(self, app: ASGIApp, redis: RedisClient, keep_seconds: int) -> None:
        self.app = app
        self.redis = redis
        self.keep_seconds = keep_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        key = Headers(scope=scope).get("idempotency-key") if scope["type"] == "http" else None
        if key is None or scope["method"] != "POST" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
        elif not 0 < len(key) <= _MOST_CHARACTERS or not key.isprintable():
            message = f"Idempotency-Key = {key!r}: give 1 to {_MOST_CHARACTERS} printable characters"
            await _refuse(message)(scope, receive, send)
        else:
            await self._serve_once(key, scope, receive, send)

    async def _serve_once(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        # The reservation's key depends on path, caller and idempotency key, the fingerprint on the request itself.
        body = await _read(receive)
        caller = Headers(scope=scope).get("authorization", "")
        name = _digest(scope["path"], caller, key)
        fingerprint = _digest(scope.get("query_string", b"").decode("latin-1"), body.hex())
        slot, owner = f"{PREFIX}:judge-idempotency:{name}", secrets.token_hex(8)
        replay = _replay(body, receive)

        # Reserve the key; serve the request, or answer as the first one was answered.
        try:
            existing = await self._reserve(slot, {"fingerprint": fingerprint, "owner": owner})
        except (RedisError, OSError) as error:
            _log.warning("Redis is away, Idempotency-Key is not honoured", extra={"error": str(error)})
            await self.app(scope, replay, send)
            return
        if existing is None:
            scope.setdefault("state", {})["idempotency"] = _digest(name, fingerprint)[:32]
            await self._serve_and_store(slot, {"fingerprint": fingerprint, "owner": owner}, scope, replay, send)
        else:
            await _answer_again(existing, fingerprint, key)(scope, receive, send)

    async def _reserve(self, slot: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Reserve the slot for `record`. Returns None, or the record that it has already."""
        async with asyncio.timeout(_REDIS_SECONDS):
            while not await self.redis.set(slot, json.dumps(record), nx=True, ex=_LEASE_SECONDS):
                existing = await self.redis.get(slot)
                if existing is not None:
                    return dict(json.loads(existing))
        return None

    async def _serve_and_store(
        self, slot: str, record: Mapping[str, Any], scope: Scope, receive: Receive, send: Send
    ) -> None:
        # Pass the answer on, and remember it.
        sent: dict[str, Any] = {"status": 500, "body": b""}

        async def remember(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent["status"], sent["headers"] = message["status"], Headers(raw=message["headers"])
            sent["body"] += message.get("body", b"")
            await send(message)

        # Renew the lease while the request is served; then replace it by the answer, or drop it after an error.
        renewing = asyncio.create_task(self._renew(slot, record["owner"]))
        try:
            await self.app(scope, receive, remember)
        finally:
            renewing.cancel()
            change = "drop"
            if 200 <= sent["status"] < 300:
                headers = {name: sent["headers"][name] for name in _KEPT_HEADERS if name in sent["headers"]}
                answer = {"status": sent["status"], "headers": headers, "body": sent["body"].decode()}
                change = json.dumps({**record, **answer})
            with suppress(RedisError, OSError):  # then the lease ends by itself
                async with asyncio.timeout(_REDIS_SECONDS):
                    await self._update(slot, record["owner"], change, self.keep_seconds)

    async def _renew(self, slot: str, owner: str) -> None:
        while True:
            await asyncio.sleep(_LEASE_SECONDS / 3)
            with suppress(RedisError, OSError):
                await self._update(slot, owner, "renew", _LEASE_SECONDS)

    async def _update(self, slot: str, owner: str, change: str, seconds: int) -> None:
        await self.redis.eval(_UPDATE_IF_OWNER, 1, slot, owner, change, seconds)


def _answer_again(existing: Mapping[str, Any], fingerprint: str, key: str) -> Response:
    """The answer to a request whose key has the record `existing`."""
    if existing["fingerprint"] != fingerprint:
        message = f"Idempotency-Key = {key!r} was used for another request: use a new key"
        return _refuse(message, "idempotency_key_reused")
    if "status" not in existing:
        message = f"the request with Idempotency-Key = {key!r} is still worked on: try again"
        code, headers = "idempotency_key_in_use", {"Retry-After": "1"}
        return error_response(ApiError(409, message, "Idempotency-Key", code, headers))
    return Response(
        existing["body"], existing["status"], headers={**existing["headers"], "Idempotent-Replayed": "true"}
    )


def _refuse(message: str, code: str = "invalid_request") -> Response:
    return error_response(ApiError(422, message, "Idempotency-Key", code))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


async def _read(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body that was read already, and then what comes after it."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
