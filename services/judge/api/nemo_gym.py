"""NeMo Gym's contract of a resources server: `POST /verify`, as in `nemo_gym/base_resources_server.py`.

The prompt is the conversation of `responses_create_params`, and the response is what the assistant says in `response`.
Reasoning and tool calls are not judged. The answer is the request with its reward. For an unscored sample `mask_sample`
is true, so that NeMo Gym leaves it out; its reward, which the contract requires, is 0 and must not be used.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue

from selfreward.contracts.base import Message
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
    "error": "judge_failed",
}
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


class _Echoed(BaseModel):
    """A model that keeps the fields it does not know, because the answer repeats the request."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ContentPart(_Echoed):
    """A part of a message. Only parts with text are judged."""

    text: str | None = None


class Item(_Echoed):
    """An input or output item of OpenAI's Responses API. Only messages are judged."""

    type: str = "message"
    role: str | None = None
    content: str | list[ContentPart] | None = None


class CreateParams(_Echoed):
    """The request to the policy."""

    input: str | list[Item]
    instructions: str | None = None


class ModelResponse(_Echoed):
    """The answer of the policy."""

    output: list[Item]


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


def conversation(params: CreateParams) -> list[Message]:
    """The messages that the policy received."""
    messages = [Message(role="system", content=params.instructions)] if params.instructions else []
    if isinstance(params.input, str):
        return [*messages, Message(role="user", content=params.input)]
    return messages + [
        Message(role=_ROLES[item.role], content=_text(item))
        for item in params.input
        if item.type == "message" and item.role in _ROLES
    ]


def assistant_text(output: Iterable[Item]) -> str:
    """The assistant's messages, separated by blank lines; empty when it only reasoned or called tools."""
    return "\n\n".join(_text(item) for item in output if item.type == "message" and item.role in (None, "assistant"))


def add_nemo_gym(app: FastAPI, service: JudgeService) -> None:
    """Add `/verify`, and `/seed_session`, which Gym's agents call first."""

    @app.post("/seed_session", tags=[CONTRACT])
    async def seed_session() -> dict[str, str]:
        """Begin an episode. Accepts any body and does nothing, because judging has no state."""
        return {}

    @app.post("/verify", response_model=VerifyResponse, tags=[CONTRACT])
    async def verify(request: Request, body: VerifyRequest, query: Annotated[JudgeQuery, Query()]) -> Response:
        """Judge one rollout. This is the contract of NeMo Gym's resources servers."""
        # Judge the rollout.
        row = body.model_dump(exclude_unset=True)
        check_json(row, "(body)")
        item = JudgeItem(
            prompt=conversation(body.responses_create_params),
            response=assistant_text(body.response.output),
            reference=as_reference(body.expected_answer),
        )
        judged = await service.judge(request, judge_request(service, query, [item]), contract=CONTRACT)

        # Answer with the request and its reward.
        judgment = judged.data[0]
        kind = judgment.failure_kind
        verdict: dict[str, Any] = {
            "reward": 0.0 if judgment.score is None else judgment.score,
            "mask_sample": judgment.score is None,
            "failure_kind": None if kind is None else _FAILURE_KINDS[kind],
            "failure_reason": judgment.failure_reason,
        }
        return json_answer({**row, **verdict}, judged)


def _text(item: Item) -> str:
    if isinstance(item.content, list):
        return "".join(part.text or "" for part in item.content)
    return item.content or ""
