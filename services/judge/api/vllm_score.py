"""vLLM's score contract: `POST /score` and `/v1/score`, as `vllm/entrypoints/pooling/scoring/protocol.py` has it.

`text_1` is the prompt and `text_2` its response, one or many: 1:1, 1:N or N:N. Scores are on the rubric's own scale.
"""

import time
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import AliasChoices, Field

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem, Usage
from services.judge.api.shared import MOST_ITEMS, Choice, answer, judge_request, scores
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

CONTRACT = "vllm_score"
Texts = str | Annotated[list[str], Field(min_length=1, max_length=MOST_ITEMS)]


class ScoreRequest(Contract):
    """vLLM's body; its other names of the two texts (`queries` and `documents` or `items`, `data_1` and `data_2`) too.

    `user` is accepted and has no effect.
    """

    model: str | None = None
    text_1: Texts = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: Texts = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))
    user: str | None = None


class ScoreData(Contract):
    """One pair's score."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(Contract):
    """vLLM's answer. `model` is the rubric's id, so that a score says by which text it was given."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreData]
    usage: Usage


def pairs(text_1: str | list[str], text_2: str | list[str]) -> list[tuple[str, str]]:
    """(prompt, response) by vLLM's rule: one prompt serves all responses, otherwise they pair up. Raises ApiError."""
    prompts = [text_1] if isinstance(text_1, str) else text_1
    responses = [text_2] if isinstance(text_2, str) else text_2
    if len(prompts) == 1:
        prompts = prompts * len(responses)
    if len(prompts) != len(responses):
        wrong = f"text_1 has {len(prompts)} entries and text_2 has {len(responses)}: send 1:1, 1:N or N:N"
        raise invalid_fields([("text_2", wrong)])
    return list(zip(prompts, responses, strict=True))


def add_vllm(app: FastAPI, service: JudgeService) -> None:
    """`/score` and `/v1/score`."""

    @app.post("/v1/score", response_model=ScoreResponse, tags=[CONTRACT])
    @app.post("/score", response_model=ScoreResponse, tags=[CONTRACT])
    async def score(request: Request, body: ScoreRequest, choice: Annotated[Choice, Query()]) -> Response:
        """Judge each (prompt, response) pair; the contract of vLLM's score route."""
        items = [JudgeItem(prompt=prompt, response=response) for prompt, response in pairs(body.text_1, body.text_2)]
        judged = await service.judge(request, judge_request(service, choice, items, body.model), contract=CONTRACT)
        data = [ScoreData(index=index, score=found) for index, found in enumerate(scores(judged.data, "text_2"))]
        scored = ScoreResponse(
            id=f"score-{request.state.request_id}",
            created=int(time.time()),
            model=judged.rubric,
            data=data,
            usage=judged.usage,
        )
        return answer(scored.model_dump(), judged)
