"""Dead letters: work that was given up, with its last error, for people to read and to queue again."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from selfreward.redis import queue_scripts as scripts
from selfreward.redis.connection import RedisClient
from selfreward.redis.queue import PREFIX

_PAGE = 500
_SUFFIX = ":dead"
Replayed = Literal["queued", "already queued", "gone"]
_OUTCOMES: dict[int, Replayed] = {1: "queued", 0: "already queued", -1: "gone"}


@dataclass(frozen=True)
class Letter:
    """One item that was given up. `body` is its JSON as it was queued, `entry_id` its id in the stream."""

    queue: str
    entry_id: str
    key: str
    body: str
    error: str
    deliveries: int

    @property
    def given_up_at(self) -> datetime:
        """When the item was given up, by the clock of Redis."""
        return datetime.fromtimestamp(int(self.entry_id.partition("-")[0]) / 1000, UTC)


async def queues(redis: RedisClient) -> list[str]:
    """Names of the queues that have dead letters."""
    prefix = f"{PREFIX}:"
    streams = [key async for key in redis.scan_iter(match=f"{prefix}*{_SUFFIX}", count=1000, _type="stream")]
    return sorted(stream.removeprefix(prefix).removesuffix(_SUFFIX) for stream in streams)


async def letters(redis: RedisClient, queue: str) -> AsyncIterator[Letter]:
    """The dead letters of a queue, oldest first, with one page in memory at a time. Later ones are left out."""
    stream = f"{PREFIX}:{queue}{_SUFFIX}"
    newest = await redis.xrevrange(stream, count=1)
    after = "-"
    while newest and (page := await redis.xrange(stream, after, newest[0][0], count=_PAGE)):
        for entry_id, fields in page:
            yield Letter(
                queue, entry_id, fields["key"], fields["body"], fields["error"], int(fields.get("deliveries", 0))
            )
            after = f"({entry_id}"


async def replay(redis: RedisClient, letter: Letter) -> Replayed:
    """Queue a letter's item again, with no deliveries counted, and delete the letter, in one atomic step.

    `already queued`: an unfinished item of that key is in the queue, so only the letter is deleted. `gone`: somebody
    else has replayed the letter. This works in a full Redis too: the item takes the memory that the letter frees.
    """
    stream = f"{PREFIX}:{letter.queue}"
    keys = (stream, f"{stream}:known", f"{stream}{_SUFFIX}")
    return _OUTCOMES[await redis.eval(scripts.REPLAY, len(keys), *keys, letter.entry_id, time.time())]
