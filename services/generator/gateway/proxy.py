"""Sends a request through the gate to the engine, and its answer back, whole or as a stream.

A request that the engine cut off before it answered, because a swap aborted it or because the engine died, is sent
again, so that clients see neither.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from selfreward.client.generator import VERSION_HEADER
from selfreward.server.errors import ApiError, error_body
from services.generator import metrics
from services.generator.engine.process import has_own_nucleus
from services.generator.gateway.requests import Prepared, prepare
from services.generator.gateway.trial import GrammarTrial
from services.generator.replica.gate import Gate, GateFull, GateTimeout, Ticket
from services.generator.replica.replica import Replica

CLIENT_CLOSED_REQUEST = 499
# A request that kills the engine must not kill one after another.
_MAX_ENGINES_LOST = 1
# W3C trace context: the engine continues the caller's trace.
_TRACE_HEADERS = ("traceparent", "tracestate")
_log = logging.getLogger(__name__)


class Proxy:
    """Sends requests to the engine of `replica`: over `http` for streams, over `transport` for whole answers.

    `trial` compiles new grammars before the engine sees them.
    """

    def __init__(
        self,
        replica: Replica,
        gate: Gate,
        http: httpx.AsyncClient,
        transport: httpx.AsyncBaseTransport,
        trial: GrammarTrial,
    ) -> None:
        self._trial = trial
        self._replica = replica
        self._gate = gate
        self._http = http
        self._transport = transport
        self._settings = replica.settings

    async def answer(self, request: Request, route: str) -> Response:
        """The engine's answer to a request; 499, which nobody sees, when the client has gone. Raises ApiError."""
        settings = self._settings
        prepared = prepare(
            route,
            await request.body(),
            settings.max_sequences,
            has_own_nucleus(settings),
            settings.structured_outputs,
        )
        for grammar in prepared.grammars:
            await self._trial.check(grammar)
        trace = {name: value for name in _TRACE_HEADERS if (value := request.headers.get(name)) is not None}
        work = asyncio.create_task(self._answer(route, prepared, trace))
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def _answer(self, route: str, prepared: Prepared, trace: dict[str, str]) -> Response:
        """Send the request until the engine has answered it."""
        for attempt in range(self._settings.retries + 1):
            # A stream keeps its ticket until it has ended; everything else gives it back here.
            ticket = await self._admit(prepared)
            kept = False
            try:
                reply = await self._send(route, prepared, ticket, trace)
                # A stream is passed on as it comes, any other answer once it is whole and the engine is still alive.
                if prepared.stream and reply.is_success:
                    kept = True
                    return _Stream(self._gate, ticket, reply)
                content = await reply.aread()
                if reply.status_code >= 500 and await self._replica.is_lost(ticket):
                    raise httpx.RemoteProtocolError("the engine was lost")
                if not (ticket.aborted and reply.is_success and _cut_short(content)):
                    return _whole(reply, content, ticket)
                cause = "abort"
            except httpx.TransportError as error:
                cause = "engine_lost" if await self._replica.is_lost(ticket) else "connection"
                _log.warning(
                    "engine cut off a request", extra={"cause": cause, "attempt": attempt, "reason": repr(error)}
                )
            finally:
                if not kept:
                    self._gate.release(ticket)
            # Cut off: again, as often as is allowed.
            if cause == "engine_lost" and attempt >= _MAX_ENGINES_LOST:
                break
            metrics.REPEATED.labels(cause).inc()
        raise ApiError(503, f"the engine cut this request off {attempt + 1} times ({cause}); try again", code=cause)

    async def _admit(self, prepared: Prepared) -> Ticket:
        """Wait for the gate. Raises ApiError: 429 or 503 when it stays closed, 409 for another version than pinned."""
        try:
            ticket = await self._gate.admit()
        except GateFull as full:
            raise ApiError(429, str(full), code="overloaded") from full
        except GateTimeout as timeout:
            raise ApiError(503, str(timeout), code="not_serving") from timeout
        if prepared.pin not in (None, ticket.label):
            self._gate.release(ticket)
            message = (
                f"this replica serves {ticket.label}, not {prepared.pin}: try another replica, or ask for 'policy'"
            )
            raise ApiError(409, message, "model", "wrong_policy_version")
        return ticket

    async def _send(self, route: str, prepared: Prepared, ticket: Ticket, trace: dict[str, str]) -> httpx.Response:
        content = prepared.content(ticket.label)
        headers = {"content-type": "application/json", "accept-encoding": "identity", **trace}
        request = self._http.build_request("POST", f"{ticket.url}{route}", content=content, headers=headers)
        if prepared.stream:
            return await self._http.send(request, stream=True)
        return await self._transport.handle_async_request(request)


class _Stream(StreamingResponse):
    """Passes on an answer as a stream.

    The engine is read as fast as it writes, whatever the client's pace, so that a slow client holds up neither a swap
    nor the engine. What waits in memory is bounded by the length that the request asks for.
    """

    def __init__(self, gate: Gate, ticket: Ticket, reply: httpx.Response) -> None:
        self._gate = gate
        self._ticket = ticket
        self._reply = reply
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())
        headers = {VERSION_HEADER: ticket.label, "content-type": reply.headers["content-type"]}
        super().__init__(self._pass_on(), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer. When the client leaves, stop reading: so the engine learns of it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._reader.cancel()

    async def _read(self) -> None:
        try:
            async for chunk in self._reply.aiter_raw():
                self._chunks.put_nowait(chunk)
        except httpx.TransportError as error:
            lost = ApiError(500, f"the engine was lost while it answered: {error!r}", code="engine_lost")
            self._chunks.put_nowait(f"data: {json.dumps(error_body(lost))}\n\n".encode())
        finally:
            self._gate.release(self._ticket)
            self._chunks.put_nowait(None)
            await self._reply.aclose()

    async def _pass_on(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk


def _whole(reply: httpx.Response, content: bytes, ticket: Ticket) -> Response:
    headers = {VERSION_HEADER: ticket.label, "content-type": reply.headers.get("content-type", "application/json")}
    return Response(content, status_code=reply.status_code, headers=headers)


def _cut_short(content: bytes) -> bool:
    """Whether a swap aborted a choice of this answer."""
    return any(choice.get("finish_reason") == "abort" for choice in json.loads(content).get("choices", []))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
