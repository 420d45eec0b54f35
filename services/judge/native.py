"""The judge's own routes: judge a batch, and read the rubrics that it judges by."""

from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import Field

from selfreward.contracts import Contract, JudgeItem, JudgePrompts, JudgeRequest, JudgeResponse
from selfreward.generator_client import VERSION_HEADER
from services.judge.refusal import check_items
from services.judge.service import JudgeService


class PromptRequest(Contract):
    """Body of `POST /v1/rubrics/{id}/prompt`."""

    items: list[JudgeItem] = Field(min_length=1, max_length=1024)


def add_native(app: FastAPI, service: JudgeService) -> None:
    """`/v1/judge` and `/v1/rubrics`."""

    @app.post("/v1/judge", response_model=JudgeResponse)
    async def judge(request: Request, body: JudgeRequest) -> Response:
        """Judge each item by `votes` sampled judgments and return their mean, every vote with it."""
        result = await service.judge(request, body)
        return Response(
            result.model_dump_json(),
            media_type="application/json",
            headers={VERSION_HEADER: result.judge_version},
        )

    @app.get("/v1/rubrics")
    async def list_rubrics() -> dict[str, Any]:
        """All rubrics by name."""
        rubrics = service.rubrics.items()
        return {"data": [{"id": rubric.id, "name": name, "title": rubric.spec.title} for name, rubric in rubrics]}

    @app.get("/v1/rubrics/{rubric_id}")
    async def show_rubric(rubric_id: str) -> dict[str, Any]:
        """One rubric with its template, by name or by `name@sha256:<12 hex>`."""
        return service.rubric(rubric_id).describe()

    @app.post("/v1/rubrics/{rubric_id}/prompt", response_model=JudgePrompts)
    async def fill_prompt(rubric_id: str, body: PromptRequest) -> Response:
        """The conversations that `POST /v1/judge` would send for these items, letter for letter."""
        rubric = service.rubric(rubric_id)
        check_items(body.items, rubric, service.settings.judge_max_items)
        filled = JudgePrompts(rubric=rubric.id, messages=[rubric.messages(item) for item in body.items])
        return Response(filled.model_dump_json(), media_type="application/json")
