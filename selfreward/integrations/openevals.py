"""openevals (and LangSmith): the judge as an evaluator."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.conversations import Conversation, conversation
from selfreward.contracts.judging import JudgeItem, JudgeResponse
from selfreward.integrations.explanation import explanation, metadata


class EvaluatorResult(TypedDict):
    """The result of an openevals evaluator (openevals/types.py). `comment` is one of the judge's explanations."""

    key: str
    score: float | None
    comment: str | None
    metadata: dict[str, Any]


def openevals_evaluator(
    client: JudgeClient, *, key: str = "selfreward", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., EvaluatorResult]:
    """An evaluator with the signature of openevals (`SimpleEvaluator` in openevals/types.py) and LangSmith.

    Inputs and outputs may be texts, message lists or `{"messages": [...]}`; anything else is judged as JSON.
    With `reference` the reference outputs are the reference answer.
    """

    def evaluator(*, inputs: Any = None, outputs: Any, reference_outputs: Any = None, **_: Any) -> EvaluatorResult:
        item = _item(inputs, outputs, reference_outputs if reference else None)
        return _result(key, client.judge([item], **options))

    return evaluator


def async_openevals_evaluator(
    client: AsyncJudgeClient, *, key: str = "selfreward", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[EvaluatorResult]]:
    """`openevals_evaluator` as a coroutine function (`SimpleAsyncEvaluator`)."""

    async def evaluator(
        *, inputs: Any = None, outputs: Any, reference_outputs: Any = None, **_: Any
    ) -> EvaluatorResult:
        item = _item(inputs, outputs, reference_outputs if reference else None)
        return _result(key, await client.judge([item], **options))

    return evaluator


def _item(inputs: Any, outputs: Any, reference: Any) -> JudgeItem:
    return JudgeItem(
        prompt=_conversation(inputs, "inputs"),
        response=_conversation(outputs, "outputs"),
        reference=None if reference is None else _as_json(reference),
    )


def _conversation(value: Any, field: str) -> Conversation:
    messages = value.get("messages") if isinstance(value, dict) else value
    if isinstance(messages, list) and messages and isinstance(messages[0], dict) and "role" in messages[0]:
        return conversation(messages, field)
    return "" if value is None else _as_json(value)


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _result(key: str, response: JudgeResponse) -> EvaluatorResult:
    judgment = response.data[0]
    return {
        "key": key,
        "score": judgment.score,
        "comment": explanation(judgment),
        "metadata": metadata(judgment, response.rubric, response.judge_version),
    }
