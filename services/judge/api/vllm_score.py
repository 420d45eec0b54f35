"""vLLM's score contract: `POST /score` and `/v1/score`, as in `vllm/entrypoints/pooling/scoring/protocol.py`.

`text_1` is the prompt and `text_2` the response, one or many of each: 1:1, 1:N or N:N. Scores have the rubric's scale.
"""

import time
from typing import Annotated, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import AliasChoices, Field

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem, Usage
from services.judge.api.shared import (
    MOST_ITEMS,
    JudgeQuery,
    Text,
    VllmFields,
    json_answer,
    judge_request,
    scores,
    text_of,
)
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

CONTRACT = "vllm_score"
Texts = Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_ITEMS)]


class ScoreRequest(VllmFields):
    """vLLM's body, also with its other names of the texts: `queries`, `data_1`, and `documents`, `items`, `data_2`."""

    text_1: Texts = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: Texts = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))


class ScoreData(Contract):
    """One pair's score."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(Contract):
    """vLLM's answer. `model` is the rubric's id, so every score names the text by which it was given."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ScoreData]
    usage: Usage


def pairs(text_1: Text | list[Text], text_2: Text | list[Text]) -> list[tuple[str, str]]:
    """Pair prompts and responses as vLLM does: one prompt with all responses, or each prompt with its response.

    Raises ApiError (422) when their numbers do not fit, or a part is no text.
    """
    prompts, responses = (
        [text_of(text, f"{name}.{index}") for index, text in enumerate(texts if isinstance(texts, list) else [texts])]
        for name, texts in (("text_1", text_1), ("text_2", text_2))
    )
    if len(prompts) == 1:
        prompts = prompts * len(responses)
    if len(prompts) != len(responses):
        message = f"text_1 has {len(prompts)} entries and text_2 has {len(responses)}: send 1:1, 1:N or N:N"
        raise invalid_fields([("text_2", message)])
    return list(zip(prompts, responses, strict=True))


def add_vllm(app: FastAPI, service: JudgeService) -> None:
    """Add `/score` and `/v1/score`."""

    @app.post("/v1/score", response_model=ScoreResponse, tags=[CONTRACT])
    @app.post("/score", response_model=ScoreResponse, tags=[CONTRACT])
    async def score(request: Request, body: ScoreRequest, query: Annotated[JudgeQuery, Query()]) -> Response:
        """Judge each pair of prompt and response. This is the contract of vLLM's score route."""
        items = [JudgeItem(prompt=prompt, response=response) for prompt, response in pairs(body.text_1, body.text_2)]
        judged = await service.judge(request, judge_request(service, query, items, body.model), contract=CONTRACT)
        data = [ScoreData(index=index, score=value) for index, value in enumerate(scores(judged.data, "text_2"))]
        scored = ScoreResponse(
            id=f"score-{request.state.request_id}",
            created=int(time.time()),
            model=judged.rubric,
            data=data,
            usage=judged.usage,
        )
        return json_answer(scored.model_dump(), judged)
