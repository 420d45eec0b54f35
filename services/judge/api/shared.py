"""What the contracts of other tools share: how they choose rubric and votes, and what they do without a score.

A contract that can only carry numbers has no place for "no score". Such a request is refused as a whole, and the
answer names the items: a made-up number would be trained on.
"""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from starlette.responses import Response

from selfreward.client.generator import VERSION_HEADER
from selfreward.contracts.base import Contract, is_policy_version
from selfreward.contracts.judging import JudgeItem, JudgeRequest, JudgeResponse, Judgment
from selfreward.server.errors import ApiError
from services.judge.rubrics.rubric import Rubric
from services.judge.service import JudgeService
from services.judge.serving.errors import invalid_fields

MOST_ITEMS = 1024
"""Items in one request, as in the native contract."""
_NAMED = 5


class Choice(Contract):
    """Query parameters of every contract that is not ours. `rubric` is a name or id, and wins over `model`."""

    rubric: str | None = None
    votes: int = Field(default=3, ge=1, le=64)


def judge_request(
    service: JudgeService, choice: Choice, items: Sequence[JudgeItem], model: str | None = None
) -> JudgeRequest:
    """The native request behind another contract's.

    `model` is a rubric's name or id; or the engine's own model name, which leaves the rubric at its default; or
    `policy@N`, which leaves it too and pins the judging version. Trainers send every sample's label, whatever it is
    judged by: a reference is dropped where the rubric compares with none.
    """
    fields: dict[str, str] = {}
    if choice.rubric is not None:
        fields["rubric"] = choice.rubric
    if model is not None and is_policy_version(model):
        fields["policy"] = model
    elif model not in (None, "", service.settings.judge_engine_model):
        fields.setdefault("rubric", str(model))
    request = JudgeRequest.model_validate({"items": list(items), "votes": choice.votes, **fields})
    if service.uses_reference(request.rubric):
        return request
    return request.model_copy(update={"items": [item.model_copy(update={"reference": None}) for item in items]})


def scores(judgments: Sequence[Judgment], field: str) -> list[float]:
    """The score of every judgment. Raises ApiError when any has none.

    503 when the engine failed, which another try may mend; 422 when the judge's words could not be read. `field` is
    the request's list that the judgments belong to.
    """
    missing = [judgment for judgment in judgments if judgment.score is None]
    if not missing:
        return [judgment.score for judgment in judgments if judgment.score is not None]
    named = "; ".join(f"{field}[{judgment.index}]: {judgment.failure_reason}" for judgment in missing[:_NAMED])
    more = f"; and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    message = (
        f"{len(missing)} of {len(judgments)} items have no score, and this contract cannot say so: {named}{more}. "
        "POST /v1/judge answers each item for itself"
    )
    if any(judgment.failure_kind == "error" for judgment in missing):
        raise ApiError(503, message, field, "unscored")
    raise ApiError(422, message, field, "unscored")


def normalised(score: float, rubric: Rubric) -> float:
    """A score of the rubric's scale as a share of it, from 0 to 1."""
    scale = rubric.spec.scale
    return (score - scale.min) / (scale.max - scale.min)


def answer(body: Any, judged: JudgeResponse) -> Response:
    """200 with a JSON body, and the judging version in the header, as the native route has it."""
    return Response(
        json.dumps(body, allow_nan=False),
        media_type="application/json",
        headers={VERSION_HEADER: judged.judge_version},
    )


def check_echo(value: Any, path: str) -> None:
    """What goes back as it came must be valid JSON, which NaN and Infinity are not. Raises ApiError (422)."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise invalid_fields(
            [(path, f"{path} has NaN or Infinity, which JSON has not: use null or a string")]
        ) from None
