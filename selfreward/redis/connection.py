"""How every part connects to Redis, and which of its errors are worth another try."""

import asyncio
import logging
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

from selfreward.backoff import backoff

# redis-py types each reply as the union of all protocol versions' shapes; nothing can be checked against that.
RedisClient = Any
Reply = TypeVar("Reply")
_TRANSIENT = (RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError, MasterDownError)
_TRANSIENT_WORDS = ("-OOM ", "MISCONF ", "-READONLY ")
_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 1.0
_log = logging.getLogger(__name__)


class RedisRefused(AuthenticationError):
    """Redis is there and does not let this client in; the message says why and what to correct."""


class _RetryWhileAway(Retry):
    """redis-py's retries, for a Redis that is away only: redis-py counts a wrong password as a lost connection too."""

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Reply]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Reply:
        """The result of `do`. Raises RedisRefused after the first try where no other would help."""
        try:
            return await super().call_with_retry(do, fail, is_retryable or _lets_us_in, with_failure_count)
        except RedisRefused:
            # A retry may run within another one.
            raise
        except (AuthenticationError, AuthorizationError) as error:
            raise RedisRefused(
                f"Redis refuses this client ({error}): give user:password@ before the host in SELFREWARD_REDIS_URL"
            ) from error


def connect(url: str) -> RedisClient:
    """An async client of `url` that gives strings. A command times out after 10 s and is tried 8 times more.

    Raises RedisRefused at once for a wrong or missing password. Has at most 64 connections: a burst of commands waits
    up to 30 s for one, where a plain pool would refuse the surplus.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=64,
        timeout=30,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=_RetryWhileAway(FullJitterBackoff(cap=5, base=0.1), 8),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis.from_pool(pool)


def connect_briefly(url: str, decode_responses: bool = False) -> RedisClient:
    """An async client for data that the caller can do without, or for people who wait: it gives up within seconds.

    A command times out after 2 s and is tried once more. Gives bytes, or strings with `decode_responses`.
    """
    return Redis.from_url(
        url,
        decode_responses=decode_responses,
        socket_timeout=2,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 1),
    )


def _lets_us_in(error: Exception) -> bool:
    return not isinstance(error, (AuthenticationError, AuthorizationError))


def is_transient(error: RedisError) -> bool:
    """Whether the same command may succeed later: Redis is away, starting, full, or cannot write to its disk."""
    if not _lets_us_in(error):
        return False
    if isinstance(error, _TRANSIENT):
        return True
    # Redis 6.2 reports an error inside a script as a general one: only its words tell which.
    return isinstance(error, ResponseError) and any(word in str(error) for word in _TRANSIENT_WORDS)


async def retry_while_redis_is_away(call: Callable[[], Awaitable[Reply]], what: str) -> Reply:
    """Repeat an idempotent call until it succeeds, while Redis is away or full; the log says `what` waits.

    Raises the RedisError of a call that no other try would help.
    """
    waits = backoff(_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
    began: float | None = None
    while True:
        try:
            reply = await call()
        except RedisError as error:
            if not is_transient(error):
                raise
            if began is None:
                began = time.monotonic()
                _log.warning("waiting for Redis", extra={"what": what, "error": repr(error)})
            await asyncio.sleep(next(waits))
        else:
            if began is not None:
                _log.info("Redis is back", extra={"what": what, "seconds": round(time.monotonic() - began, 1)})
            return reply
