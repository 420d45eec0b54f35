"""How every part connects to Redis: decoded strings, deadlines, and reconnects with jitter."""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# redis-py types each reply as the union of all protocol versions' shapes; nothing can be checked against that.
RedisClient = Any


def connect(url: str) -> RedisClient:
    """An async client of `url`: commands time out after 10 s and are tried up to 8 times while Redis is away.

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
        retry=Retry(FullJitterBackoff(cap=5, base=0.1), 8),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    return Redis.from_pool(pool)


def connect_briefly(url: str) -> RedisClient:
    """An async client for what can be done without: bytes, short deadlines, one more try on a stale connection."""
    return Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1))
