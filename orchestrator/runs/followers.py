"""Followers of runs' events: one reader a process reads Redis for all of them, over one connection.

A follower first reads what there is already, then gets what the reader finds. One that falls behind reads again.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.runs.events import stream_of
from selfreward.loop.record import ENDED
from selfreward.redis.connection import RedisClient

Entry = tuple[str, dict[str, str]]
_BATCH = 500
_MAX_KEPT = 2000
_BLOCK_MS = 500


class TooManyFollowers(RuntimeError):
    """As many followers as this process takes are there already (HTTP 429)."""


class Follower:
    """One follower of a run: entries that it has not seen yet, and whether some were dropped because it was slow."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.entries = deque[Entry]()
        self.behind = True
        self.news = asyncio.Event()

    def give(self, entries: list[Entry]) -> None:
        """Keep entries for the follower; too many at once are dropped, and it will read them by itself."""
        if len(self.entries) + len(entries) > _MAX_KEPT:
            self.behind = True
        else:
            self.entries.extend(entries)
        self.news.set()


class Followers:
    """At most `most` followers. `run` must run while there are any; `redis` is not the worker's connection."""

    def __init__(self, redis: RedisClient, most: int, wait_seconds: float = 5.0) -> None:
        self._redis = redis
        self._most = most
        self._wait_seconds = wait_seconds
        self._followers = set[Follower]()
        self._read_to: dict[str, str] = {}
        self._any = asyncio.Event()

    async def run(self) -> None:
        """Read the streams of all runs that are followed, until cancelled."""
        while True:
            runs = {follower.run for follower in self._followers}
            self._read_to = {run: read_to for run, read_to in self._read_to.items() if run in runs}
            if not self._read_to:
                self._any.clear()
                await self._any.wait()
                continue
            after = {stream_of(run): read_to for run, read_to in self._read_to.items()}
            replies = dict(await self._redis.xread(after, count=_BATCH, block=_BLOCK_MS))
            for run in list(self._read_to):
                entries = replies.get(stream_of(run))
                if entries:
                    self._read_to[run] = entries[-1][0]
                    for follower in self._followers:
                        if follower.run == run:
                            follower.give(entries)

    def join(self, run: str) -> Follower:
        """A new follower, who must `leave`. Raises TooManyFollowers."""
        if len(self._followers) >= self._most:
            raise TooManyFollowers(
                f"{len(self._followers)} callers follow events here, as many as are allowed: try again, ask "
                "GET /v1/runs/RUN instead, or raise SELFREWARD_MAX_FOLLOWERS"
            )
        follower = Follower(run)
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Forget a follower. Doing it twice is harmless."""
        self._followers.discard(follower)

    async def follow(self, follower: Follower, after: str = "0") -> AsyncIterator[str]:
        """Events after id `after` as server-sent event text, until the run's last terminal one.

        A terminal event with later events, because the run was resumed, is sent without its `state`. Comment lines keep
        idle connections open.
        """
        stream = stream_of(follower.run)
        if follower.run not in self._read_to:
            # What comes after this is the reader's, what is there already is read here.
            newest = await self._redis.xrevrange(stream, count=1)
            self._read_to.setdefault(follower.run, newest[0][0] if newest else "0-0")
            self._any.set()
        while True:
            entries = await self._next(follower, after)
            if not entries:
                yield ": waiting\n\n"
            for place, (entry_id, fields) in enumerate(entries):
                event: dict[str, Any] = json.loads(fields["data"])
                after = entry_id
                ended = event.get("state") in ENDED
                if ended and (place + 1 < len(entries) or await self._redis.xrange(stream, f"({entry_id}", count=1)):
                    del event["state"]
                    ended = False
                yield f"id: {entry_id}\ndata: {json.dumps(event)}\n\n"
                if ended:
                    return

    async def _next(self, follower: Follower, after: str) -> list[Entry]:
        """Entries after `after`; none when there are none for a while."""
        if follower.behind:
            follower.behind = False
            follower.entries.clear()
            entries: list[Entry] = await self._redis.xrange(stream_of(follower.run), f"({after}", count=_BATCH)
            # There may be more than one batch.
            follower.behind = len(entries) == _BATCH
            if entries:
                return entries
        if not follower.entries:
            follower.news.clear()
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await follower.news.wait()
            except TimeoutError:
                return []
        kept = [entry for entry in follower.entries if order(entry[0]) > order(after)]
        follower.entries.clear()
        return kept or ([] if follower.behind else await self._next(follower, after))


class EventStream(StreamingResponse):
    """The events of a run. Raises TooManyFollowers."""

    def __init__(self, followers: Followers, run: str, after: str) -> None:
        self._followers = followers
        self._follower = followers.join(run)
        stream = followers.follow(self._follower, after)
        super().__init__(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the run ends or the follower leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._followers.leave(self._follower)


def order(entry_id: str) -> tuple[int, int]:
    """What Redis orders entries by: milliseconds and a number."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)
