"""NeMo Gym's contract of a resources server: `POST /verify`, as in `nemo_gym/base_resources_server.py`.

The prompt is the conversation of `responses_create_params`, and the response is what the assistant says and calls in
`response`. Reasoning is not judged. The answer is the request with its reward. For an unscored sample `mask_sample`
is true, so that NeMo Gym leaves it out; its reward, which the contract requires, is 0 and must not be used.
"""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue

from selfreward.contracts.base import Message, as_messages
from selfreward.contracts.conversations import NotText, conversation
from selfreward.contracts.judging import JudgeItem, VoteStatus
from services.judge.api.shared import JudgeQuery, as_reference, check_json, json_answer, judge_request
from services.judge.service import JudgeService

CONTRACT = "nemo_gym"
# The names are those of nemo_gym/failure_kinds.py.
_FAILURE_KINDS: dict[VoteStatus, str] = {
    "truncated": "judge_unparseable",
    "unparsed": "judge_unparseable",
    "out_of_range": "judge_unparseable",
    "refused": "judge_failed",
    "too_long": "judge_failed",
    "nothing_to_judge": "judge_failed",
    "error": "judge_failed",
}


class _Echoed(BaseModel):
    """A model that keeps the fields it does not know, because the answer repeats the request."""

    model_config = ConfigDict(extra="allow", frozen=True)


class CreateParams(_Echoed):
    """The request to the policy. `input` is a text, or items of OpenAI's Responses API."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None


class ModelResponse(_Echoed):
    """The answer of the policy, as items of the Responses API."""

    output: list[dict[str, Any]]


class VerifyRequest(_Echoed):
    """NeMo Gym's body, with all other fields of the dataset's row. `expected_answer` is the reference."""

    responses_create_params: CreateParams
    response: ModelResponse
    expected_answer: JsonValue = None


class VerifyResponse(_Echoed):
    """The request with its reward."""

    responses_create_params: CreateParams
    response: ModelResponse
    reward: float
    mask_sample: bool
    failure_kind: str | None
    failure_reason: str | None


def rollout_item(params: CreateParams, response: ModelResponse, reference: str | None = None) -> JudgeItem:
    """What the policy received and said. Raises NotText."""
    asked = conversation(params.input, "responses_create_params.input")
    prompt = [Message(role="system", content=params.instructions)] if params.instructions else []
    answer = conversation(response.output, "response.output")
    return JudgeItem(prompt=prompt + as_messages(asked) if prompt else asked, response=answer, reference=reference)


def add_nemo_gym(app: FastAPI, service: JudgeService) -> None:
    """Add `/verify`, and `/seed_session`, which Gym's agents call first."""

    @app.post("/seed_session", tags=[CONTRACT])
    async def seed_session() -> dict[str, str]:
        """Begin an episode. Accepts any body and does nothing, because judging has no state."""
        return {}

    @app.post("/verify", response_model=VerifyResponse, tags=[CONTRACT])
    async def verify(request: Request, body: VerifyRequest, query: Annotated[JudgeQuery, Query()]) -> Response:
        """Judge one rollout. This is the contract of NeMo Gym's resources servers."""
        # Judge the rollout. What is no text has no score, with the reason, as what the judge cannot score.
        row = body.model_dump(exclude_unset=True)
        check_json(row, "(body)")
        reason, reference = None, as_reference(body.expected_answer)
        try:
            item = rollout_item(body.responses_create_params, body.response, reference)
        except NotText as error:
            item, reason = JudgeItem(prompt=[], response=[], reference=reference), str(error)
        judged = await service.judge(request, judge_request(service, query, [item]), contract=CONTRACT)

        # Answer with the request and its reward.
        judgment = judged.data[0]
        kind = judgment.failure_kind
        verdict: dict[str, Any] = {
            "reward": 0.0 if judgment.score is None else judgment.score,
            "mask_sample": judgment.score is None,
            "failure_kind": None if kind is None else _FAILURE_KINDS[kind],
            "failure_reason": reason or judgment.failure_reason,
        }
        return json_answer({**row, **verdict}, judged)
