"""The rerank contract of Cohere, Jina and vLLM: `POST /rerank`, `/v1/rerank`, `/v2/rerank`.

The request is that of `litellm/types/rerank.py`, the answer that of `vllm/entrypoints/pooling/scoring/protocol.py`. The
query is the prompt, and each document is a response. `relevance_score` is the score as a share of the rubric's scale,
from 0 to 1.
"""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, JsonValue

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import JudgeItem, Usage
from services.judge.api.shared import (
    MOST_ITEMS,
    JudgeQuery,
    Text,
    VllmFields,
    check_json,
    json_answer,
    judge_request,
    normalise,
    scores,
    text_of,
)
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

CONTRACT = "rerank"


class RerankRequest(VllmFields):
    """Body of all three routes. `top_n` is by default (and with 0) the number of documents.

    A document is a string or an object; of an object its `text` is judged, or its `rank_fields` as `name: value` lines,
    or its content parts as vLLM sends them. The default of `return_documents` is that of the route's own tool: true,
    except on `/v2/rerank`. Documents are never cut, so `max_chunks_per_doc` has no effect.
    """

    query: Text
    documents: list[Text] = Field(min_length=1, max_length=MOST_ITEMS)
    top_n: int | None = Field(default=None, ge=0)
    return_documents: bool | None = None
    rank_fields: list[str] | None = None
    max_chunks_per_doc: int | None = None


class RerankResult(Contract):
    """One document: its position in the request, its score, and the document itself where it is requested."""

    index: int
    relevance_score: float
    document: dict[str, JsonValue] | None = None


class RerankResponse(Contract):
    """The best document first; documents with equal scores keep their order. `model` is the rubric's id."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage


def document_text(document: Text, rank_fields: list[str] | None, path: str) -> str:
    """The text of a document to judge. Raises ApiError (422) when the document lacks a field to read."""
    if isinstance(document, str):
        return document
    if rank_fields is None and set(document) == {"content"}:
        return text_of(document, path)
    fields = rank_fields or ["text"]
    for field in fields:
        if field not in document:
            raise invalid_fields([(path, f"{path} has no field {field!r}: add it, or name others in rank_fields")])
    if rank_fields is None and isinstance(document["text"], str):
        return document["text"]
    return "\n".join(f"{field}: {document[field]}" for field in fields)


def add_rerank(app: FastAPI, service: JudgeService) -> None:
    """Add the three rerank routes."""

    @app.post("/v2/rerank", response_model=RerankResponse, tags=[CONTRACT])
    @app.post("/v1/rerank", response_model=RerankResponse, tags=[CONTRACT])
    @app.post("/rerank", response_model=RerankResponse, tags=[CONTRACT])
    async def rerank(request: Request, body: RerankRequest, query: Annotated[JudgeQuery, Query()]) -> Response:
        """Judge each document as a response to the query, and sort. This is the contract of Cohere, Jina and vLLM."""
        # Judge the documents.
        with_documents = (
            request.scope["path"] != "/v2/rerank" if body.return_documents is None else body.return_documents
        )
        question, items = text_of(body.query, "query"), []
        for index, document in enumerate(body.documents):
            path = f"documents.{index}"
            check_json(document, path)
            items.append(JudgeItem(prompt=question, response=document_text(document, body.rank_fields, path)))
        judged = await service.judge(request, judge_request(service, query, items, body.model), contract=CONTRACT)

        # Sort them by relevance.
        rubric = service.rubric(judged.rubric)
        relevances = [normalise(score, rubric) for score in scores(judged.data, "documents")]
        best = sorted(range(len(relevances)), key=lambda index: -relevances[index])[: body.top_n or None]
        ranked = RerankResponse(
            id=f"rerank-{request.state.request_id}",
            model=judged.rubric,
            results=[
                _result(index, relevances[index], body.documents[index] if with_documents else None) for index in best
            ],
            usage=judged.usage,
        )
        return json_answer(ranked.model_dump(exclude_unset=True), judged)


def _result(index: int, score: float, document: Text | None) -> RerankResult:
    if document is None:
        return RerankResult(index=index, relevance_score=score)
    fields: dict[str, JsonValue] = {"text": document} if isinstance(document, str) else document
    return RerankResult(index=index, relevance_score=score, document=fields)
