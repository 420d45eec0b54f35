"""The result cache as one request uses it: which engine request has which key, and when to look.

A reply is stored as the engine gave it, under everything that it depends on: the policy version, the filled prompt
(with the rubric's text, prompt, response and reference), the number of votes, sampling and seed. Votes are read from it
anew each time. The number of a version never means two different sets of weights, so a cached reply is never stale.

By default only requests with a `seed` use the cache, because a request without one wants fresh samples. The header
`X-Selfreward-Cache` overrides that: `use` the cache also without a seed, `refresh` to ask anew and store the reply,
`off` for neither.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple

from selfreward.contracts.base import content_key, is_policy_version
from services.judge.engine.cache import ResultCache
from services.judge.metrics import CACHE
from services.judge.serving.errors import invalid_fields

CACHE_HEADER = "x-selfreward-cache"
CacheMode = Literal["use", "refresh", "off"]


class CachedReply(NamedTuple):
    """The body of an engine's response, and the policy version that gave it."""

    content: bytes
    version: str


def cache_mode(headers: Mapping[str, str]) -> CacheMode | None:
    """The mode that `X-Selfreward-Cache` names; None without that header. Raises ApiError (422)."""
    value = headers.get(CACHE_HEADER)
    match value:
        case None | "use" | "refresh" | "off":
            return value
    raise invalid_fields(
        [("X-Selfreward-Cache", f"X-Selfreward-Cache = {value!r}: write use, refresh or off, or leave it out")]
    )


class CacheLookup:
    """The cache for one request to the judge. `current_version` asks the engine for the version that it serves now.

    It is asked once for each request that pins no version, because a remembered version could be the one before.
    """

    def __init__(
        self, cache: ResultCache, mode: CacheMode | None, current_version: Callable[[], Awaitable[str | None]]
    ) -> None:
        self._cache = cache
        self._mode = mode
        self._current_version = current_version
        self._version: str | None = None
        self._asking = asyncio.Lock()

    async def find(self, request: Mapping[str, Any]) -> CachedReply | None:
        """The cached reply to an engine request, by the version that it pins or else by the current one."""
        mode = self._mode_of(request)
        if mode == "off":
            return None
        if mode == "refresh":
            CACHE.labels("refresh").inc()
            return None
        version = await self._version_of(request["model"])
        if not version:
            CACHE.labels("unversioned").inc()
            return None
        content = await self._cache.get(_key(version, request))
        if content is None:
            CACHE.labels("unavailable" if self._cache.away else "miss").inc()
            return None
        CACHE.labels("hit").inc()
        return CachedReply(content, version)

    def keep(self, request: Mapping[str, Any], version: str, content: bytes) -> None:
        """Store the engine's reply, unless it names no policy version: the weights of such a model may change."""
        if version != self._version:
            self.forget_version()
        if self._mode_of(request) != "off" and is_policy_version(version):
            self._cache.put(_key(version, request), content)

    def forget_version(self) -> None:
        """Ask the engine again, because it serves another version now."""
        self._version = None

    def _mode_of(self, request: Mapping[str, Any]) -> CacheMode:
        return self._mode or ("use" if "seed" in request else "off")

    async def _version_of(self, model: str) -> str:
        if is_policy_version(model):
            return model
        async with self._asking:
            if self._version is None:
                self._version = await self._current_version() or ""
            return self._version


def _key(version: str, request: Mapping[str, Any]) -> str:
    return content_key(version, {name: value for name, value in request.items() if name != "model"})
