"""The caller's deadline: work is cancelled when it passes, or when the caller disconnects."""

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from selfreward.server.errors import ApiError
from services.judge.serving.errors import invalid_fields

TIMEOUT_HEADER = "x-request-timeout"
Result = TypeVar("Result")


def timeout_of(request: Request) -> float | None:
    """The seconds of the header `X-Request-Timeout`; None without it. Raises ApiError (422)."""
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"X-Request-Timeout = {value!r}: give the seconds that you will wait, for example 30"
        raise invalid_fields([("X-Request-Timeout", message)])
    return seconds


async def while_wanted(request: Request, work: Coroutine[Any, Any, Result], seconds: float | None) -> Result:
    """Do the work. Cancels it when the client disconnects or its time is up, because it would delay other requests.

    Raises ApiError: 504 after `seconds`, even if some items are judged by then, because a partial answer would not say
    why the other items are missing; 499 when the client has disconnected.
    """
    working = asyncio.ensure_future(work)
    disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait([working, disconnected], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if disconnected.done():
            raise ApiError(499, "the client went away")
        message = f"not judged within the {seconds:g} s of X-Request-Timeout: give it more, or send fewer items"
        raise ApiError(504, message, "X-Request-Timeout", "deadline_exceeded")
    finally:
        for task in (working, disconnected):
            task.cancel()
        await asyncio.gather(working, disconnected, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
