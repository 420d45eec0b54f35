"""NeMo Gym's resources server: `POST /verify`, as `nemo_gym/base_resources_server.py` has it.

The prompt is the conversation of `responses_create_params`; the response is what the assistant says in `response`.
Reasoning and tool calls are not judged. The answer is the request with its reward. An unscored sample has
`mask_sample` true, by which NeMo Gym leaves it out; its reward, which the contract wants, is 0 and must not be used.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, JsonValue

from selfreward.contracts.base import Message
from selfreward.contracts.judging import JudgeItem, VoteStatus
from services.judge.api.openrlhf import as_reference
from services.judge.api.shared import Choice, answer, check_echo, judge_request
from services.judge.service import JudgeService

CONTRACT = "nemo_gym"
# Names of nemo_gym/failure_kinds.py.
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
    """What is not read here goes back as it came."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ContentPart(_Echoed):
    """A piece of a message; only pieces with text are read."""

    text: str | None = None


class Item(_Echoed):
    """An input or output item of OpenAI's Responses API; only messages are read."""

    type: str = "message"
    role: str | None = None
    content: str | list[ContentPart] | None = None


class CreateParams(_Echoed):
    """What the policy was asked."""

    input: str | list[Item]
    instructions: str | None = None


class ModelResponse(_Echoed):
    """What the policy answered."""

    output: list[Item]


class VerifyRequest(_Echoed):
    """NeMo Gym's body, with whatever else the dataset's row has. `expected_answer` is the reference."""

    responses_create_params: CreateParams
    response: ModelResponse
    expected_answer: JsonValue = None


class VerifyResponse(_Echoed):
    """The request, and the verdict on it."""

    responses_create_params: CreateParams
    response: ModelResponse
    reward: float
    mask_sample: bool
    failure_kind: str | None
    failure_reason: str | None


def conversation(params: CreateParams) -> list[Message]:
    """The messages that the policy was given."""
    messages = [Message(role="system", content=params.instructions)] if params.instructions else []
    if isinstance(params.input, str):
        return [*messages, Message(role="user", content=params.input)]
    return messages + [
        Message(role=_ROLES[item.role], content=_text(item))
        for item in params.input
        if item.type == "message" and item.role in _ROLES
    ]


def spoken(output: Iterable[Item]) -> str:
    """What the assistant said, its messages a blank line apart; empty when it only thought or called tools."""
    return "\n\n".join(_text(item) for item in output if item.type == "message" and item.role in (None, "assistant"))


def _text(item: Item) -> str:
    if isinstance(item.content, list):
        return "".join(part.text or "" for part in item.content)
    return item.content or ""


def add_nemo_gym(app: FastAPI, service: JudgeService) -> None:
    """`/verify`, and `/seed_session`, which Gym's agents call first."""

    @app.post("/seed_session", tags=[CONTRACT])
    async def seed_session() -> dict[str, str]:
        """Begin an episode. Judging has no state, so there is nothing to begin; whatever is sent is accepted."""
        return {}

    @app.post("/verify", response_model=VerifyResponse, tags=[CONTRACT])
    async def verify(request: Request, body: VerifyRequest, choice: Annotated[Choice, Query()]) -> Response:
        """Judge one rollout; the contract of NeMo Gym's resources servers."""
        sent = body.model_dump(exclude_unset=True)
        check_echo(sent, "(body)")
        item = JudgeItem(
            prompt=conversation(body.responses_create_params),
            response=spoken(body.response.output),
            reference=as_reference(body.expected_answer),
        )
        judged = await service.judge(request, judge_request(service, choice, [item]), contract=CONTRACT)
        judgment = judged.data[0]
        kind = judgment.failure_kind
        verdict: dict[str, Any] = {
            "reward": 0.0 if judgment.score is None else judgment.score,
            "mask_sample": judgment.score is None,
            "failure_kind": None if kind is None else _FAILURE_KINDS[kind],
            "failure_reason": judgment.failure_reason,
        }
        return answer({**sent, **verdict}, judged)
