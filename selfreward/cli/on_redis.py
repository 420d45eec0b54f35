"""Commands that read or write the services' Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import typer

from selfreward.cli.output import stderr

if TYPE_CHECKING:
    from selfreward.redis.connection import RedisClient

Reply = TypeVar("Reply")


def on_redis(work: Callable[["RedisClient"], Awaitable[Reply]]) -> Reply:
    """Run `work` with a connection; a Redis that fails ends the command with status 2 and the remedy."""
    from redis.exceptions import RedisError

    from selfreward.redis.connection import connect_briefly
    from selfreward.settings import Settings

    url = Settings().redis_url

    async def main() -> Reply:
        async with connect_briefly(url, decode_responses=True) as redis:
            return await work(redis)

    try:
        return asyncio.run(main())
    except RedisError as error:
        place = urlsplit(url)  # the URL may hold a password
        where = f"{place.hostname}:{place.port or 6379}"
        message = f"Redis at {where} fails: {error}; set SELFREWARD_REDIS_URL to the services' Redis"
        stderr.print(message, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
