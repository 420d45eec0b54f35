"""One question to the judging engine: all votes on one item in one chat request, to any OpenAI-compatible server."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from selfreward.generator_client import VERSION_HEADER
from selfreward.http import ServiceClient, ServiceError
from services.judge.fair import FairSlots, Lane
from services.judge.metrics import ENGINE_DURATION, ENGINE_INFLIGHT


class Choice(NamedTuple):
    """One sampled judgment as the engine returned it."""

    text: str
    finish_reason: str | None
    refusal: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """All sampled judgments of one item, by one policy version."""

    choices: list[Choice]
    version: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Engine:
    """`model` is what the engine is asked for when a request pins no version; `caller` is whose turns it takes."""

    service: ServiceClient
    model: str
    slots: FairSlots
    caller: str = ""

    def for_caller(self, caller: str) -> "Engine":
        """The same engine, asked on behalf of somebody."""
        return replace(self, caller=caller)

    async def ask(self, lane: Lane, prompt: str, model: str | None, sampling: Mapping[str, Any]) -> Answer:
        """Sample judgments of one filled prompt.

        Raises WrongPolicyVersion when a pinned version is not served, ServiceError on any other failure.
        """
        body = {"model": model or self.model, "messages": [{"role": "user", "content": prompt}], **sampling}
        async with self.slots.slot(lane, self.caller):
            with ENGINE_INFLIGHT.track_inprogress(), ENGINE_DURATION.time():
                reply = await self.service.request("POST", "/v1/chat/completions", json=body)
        try:
            return _read(reply.json(), reply.headers.get(VERSION_HEADER))
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError(f"{reply.url} did not answer with a chat completion: {error!r}", 502) from error


def _read(data: dict[str, Any], version: str | None) -> Answer:
    choices = [
        Choice(
            choice["message"].get("content") or "",
            choice.get("finish_reason"),
            choice["message"].get("refusal"),
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
