"""Async client of the generator service (or of any OpenAI-compatible endpoint)."""

from collections.abc import Sequence
from typing import Any

from selfreward.client.http import ServiceClient
from selfreward.contracts.base import Contract, Message
from selfreward.contracts.judging import Usage
from selfreward.contracts.rollouts import Response

VERSION_HEADER = "x-selfreward-policy-version"


class Generation(Contract):
    """The `n` answers to one prompt. The policy version that the service reported gave all of them."""

    responses: list[Response]
    policy_version: str
    usage: Usage = Usage()


class GeneratorClient:
    """Samples answers. `model` is `policy` (the newest version), `policy@N` (pinned) or any other served name."""

    def __init__(self, service: ServiceClient, model: str = "policy") -> None:
        self.service = service
        self.model = model

    async def chat(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float = 0.7,
        top_p: float = 0.9,
        max_tokens: int = 512,
        seed: int | None = None,
        model: str | None = None,
        **extra: Any,
    ) -> Generation:
        """Sample `n` answers in one request. `extra` fields go into the body unchanged (vLLM extensions).

        Raises WrongPolicyVersion when a pinned version is not served, ServiceError on any other failure.
        """
        body: dict[str, Any] = {
            "model": model or self.model,
            "messages": [message.model_dump() for message in messages],
            "n": n,
            "temperature": temperature,
            "top_p": top_p,
            "max_tokens": max_tokens,
            **({"seed": seed} if seed is not None else {}),
            **extra,
        }
        reply = await self.service.request("POST", "/v1/chat/completions", json=body)
        data = reply.json()
        usage = data.get("usage") or {}
        # One usage record covers all n choices. Each gets an equal share, which serves as an estimate of its length.
        tokens = int(usage.get("completion_tokens", 0)) // max(1, len(data["choices"]))
        return Generation(
            responses=[
                Response(text=choice["message"]["content"] or "", finish_reason=choice["finish_reason"], tokens=tokens)
                for choice in sorted(data["choices"], key=lambda choice: choice["index"])
            ],
            policy_version=reply.headers.get(VERSION_HEADER, data.get("model", "unknown")),
            usage=Usage(**{name: usage.get(name) or 0 for name in Usage.model_fields}),
        )
