"""Async client of the judge service."""

from collections.abc import Sequence

from selfreward.contracts import JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse
from selfreward.http import ServiceClient


class JudgeClient:
    """Sends items to `POST /v1/judge` and returns one judgment for each, in order."""

    def __init__(self, service: ServiceClient) -> None:
        self.service = service

    async def judge(
        self,
        items: Sequence[JudgeItem],
        *,
        rubric: str = "additive5",
        votes: int = 3,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        policy: str | None = None,
        seed: int | None = None,
    ) -> JudgeResponse:
        """Judge a batch. `policy` pins the judging version; sampling left out is the rubric's own.

        Raises WrongPolicyVersion when the pinned version is not served, ServiceError on any other failure.
        """
        request = JudgeRequest(
            rubric=rubric,
            items=list(items),
            votes=votes,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            policy=policy,
            seed=seed,
        )
        reply = await self.service.request("POST", "/v1/judge", json=request.model_dump(mode="json"))
        return JudgeResponse.model_validate_json(reply.content)

    async def prompts(self, items: Sequence[JudgeItem], rubric: str = "additive5") -> JudgePrompts:
        """The filled judge conversations of a batch, letter for letter as `judge` would send them to the model."""
        body = {"items": [item.model_dump(mode="json") for item in items]}
        reply = await self.service.request("POST", f"/v1/rubrics/{rubric}/prompt", json=body)
        return JudgePrompts.model_validate_json(reply.content)
