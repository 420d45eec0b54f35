"""The errors that several parts of the judge raise."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from selfreward.server.errors import ApiError

_REDIS_SECONDS = 5.0


def invalid_fields(problems: Sequence[tuple[str, str]]) -> ApiError:
    """422 for (field, what is wrong and what to do) of each problem."""
    return ApiError(422, "\n".join(line for _, line in problems), problems[0][0], "invalid_request")


def overloaded(waiting: int) -> ApiError:
    """429: more items are waiting than are taken on."""
    message = f"{waiting} items are already waiting for the judging engine: try again, or run more replicas"
    return ApiError(429, message, code="overloaded", headers={"Retry-After": "1"})


@asynccontextmanager
async def redis_needed(what: str, seconds: float = _REDIS_SECONDS) -> AsyncIterator[None]:
    """Within it, a Redis that fails or takes longer than `seconds` is an ApiError (503); `what` needs Redis."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        message = (
            f"{what} need Redis, which does not answer ({type(error).__name__}): try again, or check "
            "SELFREWARD_REDIS_URL; POST /v1/judge works without it"
        )
        raise ApiError(503, message, code="redis_unavailable", headers={"Retry-After": "5"}) from error
