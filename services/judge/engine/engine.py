"""One question to the judging engine: all votes on one item in one chat request, to any OpenAI-compatible server."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from selfreward.client.generator import VERSION_HEADER
from selfreward.client.http import ServiceClient, ServiceError, WrongPolicyVersion
from selfreward.contracts.base import is_policy_version
from services.judge.engine.cache import AnswerCache, Lookup, Mode
from services.judge.engine.slots import FairSlots, Lane
from services.judge.metrics import ENGINE_DURATION, ENGINE_INFLIGHT

_BROKEN_OFF = ("abort", "error")


class Choice(NamedTuple):
    """One sampled judgment as the engine returned it; `logprobs` of its tokens where they were asked for."""

    text: str
    finish_reason: str | None
    refusal: str | None
    logprobs: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """All sampled judgments of one item, by one policy version."""

    choices: list[Choice]
    version: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Engine:
    """`model` is what the engine is asked for when a request pins no version; `probe` asks it for small things.

    `caller` is whose turns a question takes, `lookup` where an answer may be found without asking.
    """

    service: ServiceClient
    probe: ServiceClient
    model: str
    slots: FairSlots
    cache: AnswerCache | None = None
    caller: str = ""
    lookup: Lookup | None = None

    def for_request(self, caller: str, cache: Mode | None) -> "Engine":
        """The same engine, asked for one request of somebody."""
        lookup = Lookup(self.cache, cache, self.current_version) if self.cache and cache != "off" else None
        return replace(self, caller=caller, lookup=lookup)

    async def current_version(self) -> str | None:
        """The policy version that the engine serves now; None when it does not say, as engines other than ours."""
        try:
            reply = await self.probe.request("GET", "/v1/models")
            names = [str(card["id"]) for card in reply.json()["data"]]
        except (ServiceError, ValueError, KeyError, TypeError):
            return None
        versions = [name for name in names if is_policy_version(name)]
        return versions[0] if len(versions) == 1 else None

    async def ask(self, lane: Lane, prompt: str, model: str | None, sampling: Mapping[str, Any]) -> Answer:
        """Sample judgments of one filled prompt.

        Raises WrongPolicyVersion when a pinned version is not served, ServiceError on any other failure.
        """
        body = {"model": model or self.model, "messages": [{"role": "user", "content": prompt}], **sampling}
        kept = await self.lookup.find(body) if self.lookup else None
        if kept is not None:
            return _read(json.loads(kept.content), kept.version)
        async with self.slots.slot(lane, self.caller):
            with ENGINE_INFLIGHT.track_inprogress(), ENGINE_DURATION.time():
                try:
                    reply = await self.service.request("POST", "/v1/chat/completions", json=body)
                except WrongPolicyVersion:
                    if self.lookup:
                        self.lookup.forget_version()
                    raise
        try:
            answer = _read(reply.json(), reply.headers.get(VERSION_HEADER))
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"{reply.url} did not answer with a chat completion: {error!r}", 502) from error
        if self.lookup and _complete(answer, sampling["n"]):
            self.lookup.keep(body, answer.version, reply.content)
        return answer


def _complete(answer: Answer, votes: int) -> bool:
    """Whether every vote was cast, whatever it says: what the engine failed to do it may do next time."""
    return len(answer.choices) >= votes and all(choice.finish_reason not in _BROKEN_OFF for choice in answer.choices)


def _read(data: dict[str, Any], version: str | None) -> Answer:
    choices = [
        Choice(
            choice["message"].get("content") or "",
            choice.get("finish_reason"),
            choice["message"].get("refusal"),
            (choice.get("logprobs") or {}).get("content"),
        )
        for choice in data["choices"]
    ]
    usage = data.get("usage") or {}
    return Answer(
        choices,
        version or str(data.get("model", "unknown")),
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )
