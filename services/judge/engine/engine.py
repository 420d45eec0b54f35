"""Ask the judging engine, any OpenAI-compatible server: one chat request samples all votes on one item."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from selfreward.client.generator import VERSION_HEADER
from selfreward.client.http import RETRIED_STATUSES, ServiceClient, ServiceError, WrongPolicyVersion
from selfreward.contracts.base import is_policy_version
from services.judge.engine.cache import ResultCache
from services.judge.engine.lookup import CacheLookup, CacheMode
from services.judge.engine.one_by_one import ask_one_by_one
from services.judge.engine.parameters import Parameters
from services.judge.engine.reply import EngineReply, read_reply
from services.judge.engine.slots import FairSlots, Lane
from services.judge.engine.tokenizer import EngineTokens
from services.judge.metrics import ENGINE_DURATION, ENGINE_INFLIGHT
from services.judge.reading.read import BROKEN_OFF


class EngineUnavailable(ServiceError):
    """The engine answered none of the items, for a reason that is not the items' own."""


class EngineRefused(ServiceError):
    """The engine refused all items, and will until somebody mends the judge's settings."""


@dataclass
class Abilities:
    """What the engine has shown so far. `constrains`: whether it holds a continued text to a form, by its grammar.

    An engine may know how to and still fail at one form, whose words its tokenizer cannot write. `trying` lets one
    request find that out while others of the same form wait.
    """

    constrains: dict[str, bool] = field(default_factory=dict)
    trying: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))


@dataclass(frozen=True)
class Engine:
    """The judging engine with its clients, its slots and its cache.

    `model` is the model name of requests that pin no version. `probe` is a client for small requests. `tokens` are the
    special tokens of its tokenizer, `parameters` the fields that it takes. `caller` is whose turns a request takes.
    `lookup` finds cached replies for one request of the judge's API.
    """

    service: ServiceClient
    probe: ServiceClient
    model: str
    slots: FairSlots
    tokens: EngineTokens
    parameters: Parameters = field(default_factory=lambda: Parameters({}))
    cache: ResultCache | None = None
    caller: str = ""
    lookup: CacheLookup | None = None
    abilities: Abilities = field(default_factory=Abilities)

    def for_request(self, caller: str, cache: CacheMode | None) -> "Engine":
        """The same engine, for one request of a caller."""
        lookup = CacheLookup(self.cache, cache, self.current_version) if self.cache and cache != "off" else None
        return replace(self, caller=caller, lookup=lookup)

    async def current_version(self) -> str | None:
        """The policy version that the engine serves now; None when it does not say, as other engines than ours."""
        try:
            response = await self.probe.request("GET", "/models")
            names = [str(card["id"]) for card in response.json()["data"]]
        except (ServiceError, ValueError, KeyError, TypeError):
            return None
        versions = [name for name in names if is_policy_version(name)]
        return versions[0] if len(versions) == 1 else None

    async def ask(
        self,
        lane: Lane,
        prompt: str,
        model: str | None,
        sampling: Mapping[str, Any],
        retried: Set[int] = RETRIED_STATUSES,
    ) -> EngineReply:
        """Sample completions of one filled prompt. `sampling` are further fields of the request.

        `retried` are the statuses after which the engine is asked again. Raises WrongPolicyVersion when a pinned
        version is not served, ServiceError on any other failure.
        """
        # Look the request up in the cache.
        votes = sampling["n"]
        message = {"role": "user", "content": prompt}
        body = self.parameters.configure({"model": model or self.model, "messages": [message], **sampling})
        cached = await self.lookup.find(body) if self.lookup else None
        if cached is not None:
            return read_reply(cached.content, cached.version, votes)

        # Send it when there is a slot, and read the reply.
        async def ask_once(fields: Mapping[str, Any], votes: int = 1) -> EngineReply:
            response = await self._send(lane, fields, retried)
            # Engines other than ours may name another model each time.
            reply = read_reply(response.content, response.headers.get(VERSION_HEADER) or self.model, votes)
            if self.lookup and fields is body and _is_complete(reply, votes):
                self.lookup.keep(body, reply.version, response.content)
            return reply

        # Some engines give one choice, however many are asked for.
        if votes > 1 and self.parameters.one_choice:
            return await ask_one_by_one(ask_once, body, votes)
        reply = await ask_once(body, votes)
        if len(reply.completions) == 1 < votes and not reply.is_failed:
            self.parameters.note(("n", None))
            return await ask_one_by_one(ask_once, body, votes, reply)
        return reply

    async def _send(self, lane: Lane, body: Mapping[str, Any], retried: Set[int]) -> httpx.Response:
        async def post(fields: Mapping[str, Any]) -> httpx.Response:
            return await self.service.request("POST", "/chat/completions", json=fields, retried=retried)

        async with self.slots.slot(lane, self.caller):
            with ENGINE_INFLIGHT.track_inprogress(), ENGINE_DURATION.time():
                try:
                    return await self.parameters.send(body, post)
                except WrongPolicyVersion:
                    if self.lookup:
                        self.lookup.forget_version()
                    raise


def _is_complete(reply: EngineReply, votes: int) -> bool:
    """Whether the engine finished every vote, whatever it says. What the engine failed to do it may do next time."""
    completions = reply.completions
    return len(completions) >= votes and all(
        item.fault is None and item.finish_reason not in BROKEN_OFF for item in completions
    )
