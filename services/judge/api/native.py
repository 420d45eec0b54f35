"""The judge's own routes: judge, compare and rank, and the rubrics."""

from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import Field

from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.base import Contract, Message
from selfreward.contracts.comparisons import MetaRequest, PairRequest, PairResponse, RankRequest, RankResponse
from selfreward.contracts.judging import JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse
from services.judge.checks import check_items
from services.judge.rubrics.store import RubricBody
from services.judge.service import JudgeService
from services.judge.verdicts.filling import fill_prompts


class PromptRequest(Contract):
    """Body of `POST /v1/rubrics/{id}/prompt`."""

    items: list[JudgeItem] = Field(min_length=1, max_length=1024)


def add_native(app: FastAPI, service: JudgeService) -> None:
    """Add `/v1/judge` and `/v1/rubrics`."""

    @app.post("/v1/judge", response_model=JudgeResponse)
    async def judge(request: Request, body: JudgeRequest) -> Response:
        """Judge each item by `votes` sampled votes, and return its score with all votes."""
        return _answer(await service.judge(request, body))

    @app.post("/v1/judge/pairwise", response_model=PairResponse)
    async def pairwise(request: Request, body: PairRequest) -> Response:
        """Compare two responses to each prompt, in both orders. A disagreement of the orders is a tie."""
        return _answer(await service.compare(request, body))

    @app.post("/v1/judge/meta", response_model=PairResponse)
    async def meta(request: Request, body: MetaRequest) -> Response:
        """Compare two judgments of each response, in both orders. A disagreement of the orders is a tie."""
        return _answer(await service.compare(request, body))

    @app.post("/v1/judge/rank", response_model=RankResponse)
    async def rank(request: Request, body: RankRequest) -> Response:
        """Order candidates from best to worst: all in one prompt or, by a pointwise rubric, each by its own score."""
        return _answer(await service.rank(request, body))

    @app.get("/v1/rubrics")
    async def list_rubrics() -> dict[str, Any]:
        """All rubrics by name."""
        rubrics = service.rubrics.items()
        return {
            "data": [
                {"id": rubric.id, "name": name, "kind": rubric.spec.kind, "title": rubric.spec.title}
                for name, rubric in rubrics
            ]
        }

    @app.get("/v1/rubrics/{rubric_id}")
    async def show_rubric(rubric_id: str) -> dict[str, Any]:
        """One rubric with its template, by name or by `name@sha256:<12 hex>`."""
        return service.rubric(rubric_id).describe()

    @app.put("/v1/rubrics/{rubric_id}", openapi_extra={"x-scope": "admin"})
    async def put_rubric(rubric_id: str, body: RubricBody, response: Response) -> dict[str, Any]:
        """Add a rubric (201), or replace one that was added this way (200). Returns the rubric with its new id."""
        response.status_code = 200 if rubric_id in service.rubrics else 201
        return (await service.put_rubric(rubric_id, body)).describe()

    @app.post("/v1/rubrics/{rubric_id}/prompt", response_model=JudgePrompts)
    async def fill_prompt(rubric_id: str, body: PromptRequest) -> Response:
        """The conversations that `POST /v1/judge` would send to the engine for these items, letter for letter."""
        rubric = service.rubric(rubric_id)
        check_items(body.items, rubric, service.settings.judge_max_items)
        values = [rubric.values(item) for item in body.items]
        prompts = await fill_prompts(rubric.template, values, service.jury(rubric).first.tokens)
        messages = [[Message(role="user", content=prompt)] for prompt in prompts]
        filled = JudgePrompts(rubric=rubric.id, messages=messages)
        return Response(filled.model_dump_json(), media_type="application/json")


def _answer(result: JudgeResponse | PairResponse | RankResponse) -> Response:
    return Response(
        result.model_dump_json(), media_type="application/json", headers={VERSION_HEADER: result.judge_version}
    )
