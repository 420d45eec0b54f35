"""openevals: an evaluator that asks the judge."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import Conversation, JudgeOptions, conversation
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.integrations.inspect_ai import _metadata, explanation


class EvaluatorResult(TypedDict):
    """What openevals evaluators return (openevals/types.py): `comment` is one of the judge's explanations."""

    key: str
    score: float | None
    comment: str | None
    metadata: dict[str, Any]


def openevals_evaluator(
    client: JudgeClient, *, key: str = "selfreward", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., EvaluatorResult]:
    """An evaluator with openevals' signature (`SimpleEvaluator` in openevals/types.py); also LangSmith's.

    Inputs and outputs may be texts, message lists, `{"messages": [...]}`, or anything else, which is judged as JSON.
    With `reference` the reference outputs are the reference answer.
    """

    def evaluator(*, inputs: Any = None, outputs: Any, reference_outputs: Any = None, **_: Any) -> EvaluatorResult:
        item = _openevals_item(inputs, outputs, reference_outputs if reference else None)
        answer = client.judge([item], **options)
        return _openevals_result(key, answer.data[0], answer.rubric, answer.judge_version)

    return evaluator


def async_openevals_evaluator(
    client: AsyncJudgeClient, *, key: str = "selfreward", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[EvaluatorResult]]:
    """`openevals_evaluator` as a coroutine function (`SimpleAsyncEvaluator`)."""

    async def evaluator(
        *, inputs: Any = None, outputs: Any, reference_outputs: Any = None, **_: Any
    ) -> EvaluatorResult:
        item = _openevals_item(inputs, outputs, reference_outputs if reference else None)
        answer = await client.judge([item], **options)
        return _openevals_result(key, answer.data[0], answer.rubric, answer.judge_version)

    return evaluator


def _openevals_item(inputs: Any, outputs: Any, reference: Any) -> JudgeItem:
    return JudgeItem(
        prompt=_material(inputs, "inputs"),
        response=_material(outputs, "outputs"),
        reference=None if reference is None else _as_json(reference),
    )


def _material(value: Any, field: str) -> Conversation:
    messages = value.get("messages") if isinstance(value, dict) else value
    if isinstance(messages, list) and messages and isinstance(messages[0], dict) and "role" in messages[0]:
        return conversation(messages, field)
    return "" if value is None else _as_json(value)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _openevals_result(key: str, judgment: Judgment, rubric: str, version: str) -> EvaluatorResult:
    return {
        "key": key,
        "score": judgment.score,
        "comment": explanation(judgment),
        "metadata": _metadata(judgment, rubric, version),
    }
