"""What needs Redis says so when it is away. Judging itself does not need it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from services.judge.checks import Refused
from services.judge.serving.errors import error_response

_SECONDS = 5.0


@asynccontextmanager
async def redis_needed(what: str) -> AsyncIterator[None]:
    """Within it, a Redis that fails or takes longer than a few seconds is Refused (503); `what` is what needs it."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        message = (
            f"{what} need Redis, which does not answer ({type(error).__name__}): try again, or check "
            "SELFREWARD_REDIS_URL; POST /v1/judge works without it"
        )
        again = {"Retry-After": "5"}
        raise Refused(
            error_response(503, message, "service_unavailable", code="redis_unavailable", headers=again)
        ) from error
