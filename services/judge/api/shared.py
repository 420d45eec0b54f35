"""Shared by the contracts of other tools: choose rubric and votes, and refuse a request with missing scores.

A contract that can only carry numbers cannot say "no score". Then the whole request is refused with an error that names
the items, because a made-up number would be trained on.
"""

import json
from collections.abc import Sequence
from typing import Any, Self

from pydantic import Field, JsonValue, model_validator
from starlette.responses import Response

from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.base import Contract, as_messages, is_policy_version
from selfreward.contracts.comparisons import PairResponse, RankResponse
from selfreward.contracts.conversations import NotText, conversation
from selfreward.contracts.judging import JudgeItem, JudgeRequest, JudgeResponse, Judgment
from selfreward.server.errors import ApiError
from services.judge.rubrics.rubric import Rubric
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

MOST_ITEMS = 1024
"""Items in one request, as in the native contract."""
_MOST_NAMED = 5


class JudgeQuery(Contract):
    """Query parameters of every contract that is not ours. `rubric` is a name or id, and overrides `model`."""

    rubric: str | None = None
    votes: int = Field(default=3, ge=1, le=64)


class VllmFields(Contract):
    """Fields that vLLM's score and rerank requests share (`PoolingBasicRequestMixin`, `ScoringRequestMixin`).

    What schedules a request or fits it into a model's window has no effect, because texts are judged whole. What would
    make another score of it is refused: `instruction` and `chat_template_kwargs`, because the rubric says how to judge,
    and `use_activation=false`, because there are no logits.
    """

    model: str | None = None
    user: str | None = None
    request_id: str | None = None
    priority: int | None = None
    cache_salt: str | None = None
    padding: str | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: str | None = None
    max_tokens_per_query: int | None = None
    max_tokens_per_doc: int | None = None
    mm_processor_kwargs: dict[str, JsonValue] | None = None
    instruction: str | None = None
    chat_template_kwargs: dict[str, JsonValue] | None = None
    use_activation: bool | None = None

    @model_validator(mode="after")
    def _same_meaning(self) -> Self:
        if self.instruction or self.chat_template_kwargs:
            name = "instruction" if self.instruction else "chat_template_kwargs"
            raise ValueError(
                f"{name} = {getattr(self, name)!r:.60} would not be read: the rubric says how to judge, so put it into "
                "a rubric of your own (PUT /v1/rubrics/NAME)"
            )
        if self.use_activation is False:
            raise ValueError("use_activation = False asks for logits, which a judge has not: leave it out")
        return self


Text = str | dict[str, JsonValue]
"""A text, or vLLM's form of it in parts: `{"content": [{"type": "text", "text": "..."}]}`."""


def text_of(value: Text, path: str) -> str:
    """The text of a string or of content parts. Raises ApiError (422) for other parts than texts."""
    if isinstance(value, str):
        return value
    if set(value) != {"content"}:
        raise invalid_fields([(path, f"{path} = {value!r:.60}: give a string, or an object with content parts")])
    try:
        messages = as_messages(conversation({"role": "user", **value}, path))
    except NotText as error:
        raise invalid_fields([(path, str(error))]) from None
    return messages[0].content if messages else ""


def judge_request(
    service: JudgeService, query: JudgeQuery, items: Sequence[JudgeItem], model: str | None = None
) -> JudgeRequest:
    """The native request for a request of another contract.

    `model` is the name or id of a rubric; or the engine's model name, which means the default rubric; or `policy@N`,
    which means the default rubric too and pins the judging version. Drops references where the rubric compares with
    none, because trainers send every sample's label whatever the rubric is.
    """
    fields: dict[str, str] = {}
    if query.rubric is not None:
        fields["rubric"] = query.rubric
    if model is not None and is_policy_version(model):
        fields["policy"] = model
    elif model not in (None, "", service.settings.judge_engine_model):
        fields.setdefault("rubric", str(model))
    request = JudgeRequest.model_validate({"items": list(items), "votes": query.votes, **fields})
    if service.uses_reference(request.rubric):
        return request
    return request.model_copy(update={"items": [item.model_copy(update={"reference": None}) for item in items]})


def scores(judgments: Sequence[Judgment], field: str) -> list[float]:
    """The score of every judgment. Raises ApiError when any has none.

    The error is 503 when the engine failed, so that another try may help, and 422 when the judge's texts could not be
    read. `field` is the list of the request that the judgments belong to.
    """
    missing = [judgment for judgment in judgments if judgment.score is None]
    if not missing:
        return [judgment.score for judgment in judgments if judgment.score is not None]
    reasons = "; ".join(f"{field}[{judgment.index}]: {judgment.failure_reason}" for judgment in missing[:_MOST_NAMED])
    more = f"; and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    message = (
        f"{len(missing)} of {len(judgments)} items have no score, and this contract cannot say so: {reasons}{more}. "
        "POST /v1/judge answers each item for itself"
    )
    if any(judgment.failure_kind == "error" for judgment in missing):
        raise ApiError(503, message, field, "unscored")
    raise ApiError(422, message, field, "unscored")


def as_reference(label: JsonValue) -> str | None:
    """A trainer's label as reference text; None for no label, which some trainers send as an empty string."""
    if label is None or label == "":
        return None
    return label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)


def normalise(score: float, rubric: Rubric) -> float:
    """A score as a share of the rubric's scale, from 0 to 1."""
    scale = rubric.spec.scale
    return (score - scale.min) / (scale.max - scale.min)


def json_answer(body: Any, judged: JudgeResponse | PairResponse | RankResponse) -> Response:
    """The answer 200 with a JSON body, and the judging version in a header as the native routes send it."""
    return Response(
        json.dumps(body, allow_nan=False),
        media_type="application/json",
        headers={VERSION_HEADER: judged.judge_version},
    )


def check_json(value: Any, path: str) -> None:
    """Check that a value that the answer repeats is valid JSON, which NaN and Infinity are not.

    Raises ApiError (422).
    """
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise invalid_fields(
            [(path, f"{path} has NaN or Infinity, which JSON has not: use null or a string")]
        ) from None
