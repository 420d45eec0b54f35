"""How long a caller waits: work is bounded by that, and dropped when it passes or when the caller goes away."""

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
    """Seconds of the caller's `X-Request-Timeout`, None without one. Raises ApiError (422)."""
    given = request.headers.get(TIMEOUT_HEADER)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        message = f"X-Request-Timeout = {given!r}: give the seconds that you will wait, for example 30"
        raise invalid_fields([("X-Request-Timeout", message)])
    return seconds


async def while_wanted(request: Request, work: Coroutine[Any, Any, Result], seconds: float | None) -> Result:
    """Do the work, but drop it when the client goes away or its time is up: judging for nobody would delay others.

    Raises ApiError: 504 after `seconds`, whatever was judged by then, because no answer is better than one that leaves
    open which items are missing for want of time; 499 when nobody is there to read it.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait([working, gone], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if gone.done():
            raise ApiError(499, "the client went away")
        message = f"not judged within the {seconds:g} s of X-Request-Timeout: give it more, or send fewer items"
        raise ApiError(504, message, "X-Request-Timeout", "deadline_exceeded")
    finally:
        for task in (working, gone):
            task.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
