"""Answers of the engine, kept in Redis by their content, so that the same question need not be asked twice.

Kept is what the engine said, word for word, under everything that it depends on: the policy version, the filled prompt
(which holds the rubric's text, prompt, response and reference), the number of votes, sampling and seed. Votes are read
from it anew each time. A version's number never means two different weights, so what is found is never stale.

By default only questions with a `seed` are looked up: who gives none asks for fresh samples. `X-Selfreward-Cache` of a
request decides otherwise: `use` also without a seed, `refresh` to ask anew and keep the result, `off` for neither.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from selfreward.contracts.judging import content_key
from selfreward.redis.announcements import is_policy_version
from services.judge.checks import invalid_fields
from services.judge.engine.cache import AnswerCache
from services.judge.metrics import CACHE

CACHE_HEADER = "x-selfreward-cache"
Mode = Literal["use", "refresh", "off"]


class Cached(NamedTuple):
    """An engine's answer, as it gave it, and the policy version that gave it."""

    content: bytes
    version: str


def cache_mode(headers: Mapping[str, str]) -> Mode | None:
    """What `X-Selfreward-Cache` asks for; None without it. Raises Refused (422)."""
    given = headers.get(CACHE_HEADER)
    match given:
        case None | "use" | "refresh" | "off":
            return given
    raise invalid_fields(
        [("X-Selfreward-Cache", f"X-Selfreward-Cache = {given!r}: write use, refresh or off, or leave it out")]
    )


class Lookup:
    """The cache as one request uses it. `current` asks the engine for the version that it serves now.

    It is asked once for each request that does not pin a version: a remembered version could be the one before.
    """

    def __init__(self, cache: AnswerCache, mode: Mode | None, current: Callable[[], Awaitable[str | None]]) -> None:
        self._cache = cache
        self._mode = mode
        self._current = current
        self._version: str | None = None
        self._asking = asyncio.Lock()

    async def find(self, question: Mapping[str, Any]) -> Cached | None:
        """The kept answer to an engine request, by the version that it pins or else by the current one."""
        mode = self._mode_of(question)
        if mode == "off":
            return None
        if mode == "refresh":
            CACHE.labels("refresh").inc()
            return None
        version = await self._version_of(question["model"])
        if not version:
            CACHE.labels("unversioned").inc()
            return None
        content = await self._cache.get(_key(version, question))
        if content is None:
            CACHE.labels("unavailable" if self._cache.away else "miss").inc()
            return None
        CACHE.labels("hit").inc()
        return Cached(content, version)

    def keep(self, question: Mapping[str, Any], version: str, content: bytes) -> None:
        """Keep the engine's answer. An engine that names no version is not remembered: its model may change."""
        if version != self._version:
            self.forget_version()
        if self._mode_of(question) != "off" and is_policy_version(version):
            self._cache.put(_key(version, question), content)

    def forget_version(self) -> None:
        """The engine has moved on: ask it again."""
        self._version = None

    def _mode_of(self, question: Mapping[str, Any]) -> Mode:
        return self._mode or ("use" if "seed" in question else "off")

    async def _version_of(self, model: str) -> str:
        if is_policy_version(model):
            return model
        async with self._asking:
            if self._version is None:
                self._version = await self._current() or ""
            return self._version


def _key(version: str, question: Mapping[str, Any]) -> str:
    return content_key(version, {name: value for name, value in question.items() if name != "model"})
