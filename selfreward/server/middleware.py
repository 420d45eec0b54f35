"""What every request to a service passes first: a request id, the API key and its scope, the limit of the body."""

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from selfreward.server.budget import ByteBudget, Held
from selfreward.server.errors import ApiError, error_response
from selfreward.server.keys import Key, Keyring, KeyScope, LiveKeyring
from selfreward.server.startup import is_loopback

_REQUEST_ID = re.compile("[!-~]{1,128}")
_LEAST_SECONDS = 30.0
_LEAST_BYTES_A_SECOND = 64 << 10
_MOST_DIGITS = 19  # of a length in bytes; `int` refuses thousands of them


def ignore_answer(scope: Scope, status: int) -> None:
    """Counts nothing."""


class RequestGuard:
    """ASGI middleware that lets a request in: with a key that may use the route, and a body within the limit.

    `request.state` then has the `key` and the `request_id`, which is the caller's `X-Request-Id` where that is 1 to 128
    printable ASCII characters, and goes back with every answer.

    `open_paths` need no key, and their bodies are not read. For every other path `needed_scope` names the scope that
    the key must have, None where any known key will do. A body may have `max_body_bytes`, which the environment
    variable `limit_setting` raises. `budget` bounds what the bodies in flight have together; a body's share is taken
    before its first byte is read, where its length is announced. A body must have arrived after 30 s, or come at
    64 KiB/s on average. `on_answer` gets the ASGI scope and the status of every answer as it starts, the guard's own
    refusals included.

    The application gets a body only when all of it has arrived, but for those of `streamed` paths, which have limits
    and settings of their own and are in no budget. Answers and disconnects pass through untouched.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring | LiveKeyring,
        needed_scope: Callable[[Scope], KeyScope | None],
        max_body_bytes: int,
        limit_setting: str,
        budget: ByteBudget,
        streamed: Mapping[str, tuple[int, str]] | None = None,
        open_paths: Collection[str] = ("/healthz", "/readyz"),
        on_answer: Callable[[Scope, int], None] = ignore_answer,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._needed_scope = needed_scope
        self._max_body_bytes = max_body_bytes
        self._limit_setting = limit_setting
        # A body of full length must fit into what one key may have.
        budget.total = max(budget.total, 2 * max_body_bytes)
        self._budget = budget
        self._streamed = streamed or {}
        self._open_paths = open_paths
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given_id = headers.get("x-request-id", "")
        request_id = given_id if _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex
        # A call from within this process brings its key; what comes over the network has no state.
        state = scope.setdefault("state", {})
        key = state.get("key") or self._keyring.find(headers)
        state.update(request_id=request_id, key=key)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
                self._on_answer(scope, message["status"])
            await send(message)

        held = self._budget.hold(key.name if key else "")
        try:
            try:
                passed = receive
                if key is Keyring.open_to_all:
                    check_local(headers, scope)
                if scope["path"] not in self._open_paths:
                    authorize(key, self._needed_scope(scope))
                    passed = await self._receive(scope, headers, receive, held)
            except ApiError as error:
                await error_response(error)(scope, receive, send_with_id)
                return
            await self._app(scope, passed, send_with_id)
        finally:
            held.release()

    async def _receive(self, scope: Scope, headers: Headers, receive: Receive, held: Held) -> Receive:
        """What the application receives from. ApiError for a body that is too long, too slow, or one too many."""
        if scope["path"] in self._streamed:
            return _counted(headers, in_time(receive), *self._streamed[scope["path"]])
        return await self._receive_whole(headers, in_time(receive), held)

    async def _receive_whole(self, headers: Headers, receive: Receive, held: Held) -> Receive:
        """Wait for all of the body; what is returned gives it again."""
        # An announced length spares reading; a body that announces none, or too little, is counted as it comes.
        length = _announced(headers)
        messages: list[Message] = []
        received, more = 0, True
        while more and max(length, received) <= self._max_body_bytes:
            held.at_least(int(max(length, received)))
            messages.append(await receive())
            received += len(messages[-1].get("body", b""))
            more = messages[-1].get("more_body", False)
        if max(length, received) > self._max_body_bytes:
            raise _too_long(self._max_body_bytes, self._limit_setting)

        async def replayed() -> Message:
            return messages.pop(0) if messages else await receive()

        return replayed


def in_time(receive: Receive, clock: Callable[[], float] = time.monotonic) -> Receive:
    """The same messages, as long as the body keeps coming. Raises ApiError (408) for one that is too slow."""
    began, received, more = clock(), 0, True

    async def received_in_time() -> Message:
        nonlocal received, more
        if not more:
            # Nothing is owed any more: what still comes is that the client has gone.
            return await receive()
        left = began + _LEAST_SECONDS + received / _LEAST_BYTES_A_SECOND - clock()
        try:
            async with asyncio.timeout(left):
                message = await receive()
        except TimeoutError:
            text = f"after {clock() - began:.0f} s the body is not complete: send it faster"
            raise ApiError(408, text, code="body_too_slow", headers={"Connection": "close"}) from None
        received += len(message.get("body", b""))
        more = message.get("more_body", False)
        return message

    return received_in_time


def _announced(headers: Headers) -> float:
    announced = headers.get("content-length", "")
    if not announced.isdecimal():
        return 0
    return int(announced) if len(announced) <= _MOST_DIGITS else math.inf


def _counted(headers: Headers, receive: Receive, limit: int, setting: str) -> Receive:
    """The body as it comes, up to the limit. ApiError (413) for one that is too long, at once if it says so."""
    if _announced(headers) > limit:
        raise _too_long(limit, setting)
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_long(limit, setting)
        return message

    return counted


def _too_long(limit: int, setting: str) -> ApiError:
    # What the client still sends is not read, so no other request can come on this connection.
    message = f"the body has more than {limit} bytes: send less in one request, or raise {setting}"
    return ApiError(413, message, code="body_too_long", headers={"Connection": "close"})


def check_local(headers: Headers, scope: Scope) -> None:
    """Raise ApiError (403) for a request of a page in somebody's browser, to a service that asks for no key.

    Such a service listens on loopback alone, which the browser of this machine reaches too: for a page whose name leads
    here (DNS rebinding), and by a form of any page. Both say so in `Host` and `Origin`. A call from within this process
    names itself.
    """
    here = (scope.get("server") or ("", None))[0]
    for header, prefix in (("host", "//"), ("origin", "")):
        given = headers.get(header)
        if given is None:
            continue
        try:
            host = urlsplit(prefix + given).hostname
        except ValueError:
            host = None
        if host is None or not (is_loopback(host) or host == here):
            message = f"{header} = {given[:80]!r}: without API keys only a loopback name is accepted: set a key"
            raise ApiError(403, message, code="not_local")


def authorize(key: Key | None, needed: KeyScope | None) -> None:
    """Let `key`, as `Keyring.find` gave it, use a route of the scope `needed` (None: any known key may).

    Raises ApiError: 401 without a known key, 403 for a key that lacks the scope.
    """
    if key is None:
        message = "the API key is missing or wrong: send `Authorization: Bearer <key>`"
        raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
    if needed is not None and needed not in key.scopes:
        message = f"key {key.name!r} lacks the scope {needed!r}: use a key that has it, or add it to the keys file"
        raise ApiError(403, message, code="missing_scope")
