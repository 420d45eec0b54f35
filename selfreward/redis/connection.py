"""How every part connects to Redis: decoded strings, deadlines, reconnects with jitter, and what a pause looks like."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# redis-py types each reply as the union of all protocol versions' shapes; nothing can be checked against that.
RedisClient = Any
Reply = TypeVar("Reply")
_PASSING = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, MasterDownError)
_PASSING_WORDS = ("-OOM ", "MISCONF ", "-READONLY ")
_log = logging.getLogger(__name__)


class RedisRefused(AuthenticationError):
    """Redis is there and does not let this client in; the message says why and what to correct."""


class _WhileAway(Retry):
    """redis-py's retries, but for a Redis that is away only: it counts a wrong password as a lost connection too."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Reply]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Reply:
        """What `do` gives. Raises RedisRefused after the first try where no other would help."""
        try:
            return await super().call_with_retry(do, fail, is_retryable or _may_return, with_failure_count)
        except RedisRefused:
            # A retry may run within another one.
            raise
        except (AuthenticationError, AuthorizationError) as error:
            raise RedisRefused(
                f"Redis refuses this client ({error}): give user:password@ before the host in SELFREWARD_REDIS_URL"
            ) from error


def connect(url: str) -> RedisClient:
    """An async client of `url`: commands time out after 10 s and are tried up to 8 times while Redis is away.

    A wrong or missing password is RedisRefused at once.

    At most 64 connections: a burst of commands waits for one (up to 30 s), where a plain pool would refuse the surplus.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=64,
        timeout=30,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=_WhileAway(FullJitterBackoff(cap=5, base=0.1), 8),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis.from_pool(pool)


def connect_briefly(url: str, decode_responses: bool = False) -> RedisClient:
    """An async client for what can be done without, or for people: short deadlines, one more try, bytes by default."""
    return Redis.from_url(
        url,
        decode_responses=decode_responses,
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 1),
    )


def _may_return(error: Exception) -> bool:
    return not isinstance(error, (AuthenticationError, AuthorizationError))


def passes(error: RedisError) -> bool:
    """Whether the same command may succeed later: Redis is away, starting, full, or cannot write to its disk."""
    if not _may_return(error):
        return False
    if isinstance(error, _PASSING):
        return True
    # Redis 6.2 reports what went wrong inside a script as a general error, so its words tell and its class does not.
    return isinstance(error, ResponseError) and any(word in str(error) for word in _PASSING_WORDS)


async def outlast(call: Callable[[], Awaitable[Reply]], what: str) -> Reply:
    """Repeat an idempotent call for as long as Redis is away or full; `what` is said in the log. Other errors pass."""
    began: float | None = None
    while True:
        try:
            reply = await call()
        except RedisError as error:
            if not passes(error):
                raise
            if began is None:
                began = time.monotonic()
                _log.warning("waiting for Redis", extra={"what": what, "error": repr(error)})
            await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - guards no secret
        else:
            if began is not None:
                _log.info("Redis is back", extra={"what": what, "seconds": round(time.monotonic() - began, 1)})
            return reply
