"""The judge as a reward or an evaluator of other tools: plain functions around a client, none of them imports its tool.

Options (`rubric`, `votes`, `policy`, ...) are the client's. No adapter turns an answer that got no score into a
number: TRL gets None, inspect_ai an unscored score, openevals a None score, and verl, which can only carry a number,
an Unscored error.

A tool's reference answers (ground truths, targets) are sent along only where `reference` says so: a rubric either needs
them or refuses them.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypedDict, Unpack

from selfreward.client.conversations import Conversation, conversation
from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem, Judgment

Rewards = list[float | None]


class Unscored(ValueError):
    """The judge gave no score where the caller can only take a number."""


class EvaluatorResult(TypedDict):
    """What openevals evaluators return (openevals/types.py): `comment` is one of the judge's explanations."""

    key: str
    score: float | None
    comment: str | None
    metadata: dict[str, Any]


def trl_reward(
    client: JudgeClient, *, reference: str | None = None, **options: Unpack[JudgeOptions]
) -> Callable[..., Rewards]:
    """A reward function for TRL's `reward_funcs` (trl/trainer/grpo_trainer.py, `_calculate_rewards`).

    Prompts and completions are texts or message lists. `reference` is the dataset column with reference answers.
    """

    def judge_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        items = _trl_items(prompts, completions, columns, reference)
        return [judged.judgment.score for judged in client.judge_many(items, **options)]

    return judge_reward


def async_trl_reward(
    client: AsyncJudgeClient, *, reference: str | None = None, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[Rewards]]:
    """`trl_reward` as a coroutine function, which TRL runs beside its other asynchronous rewards.

    TRL awaits it on an event loop of its own, `trainer.async_loop`: a client that must be closed is closed there.
    """

    async def judge_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        items = _trl_items(prompts, completions, columns, reference)
        return [judged.judgment.score async for judged in client.judge_stream(items, **options)]

    return judge_reward


def verl_score(
    client: JudgeClient, *, prompt_key: str = "question", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., float]:
    """A `compute_score` for verl's `custom_reward_function` (verl/workers/reward_manager/naive.py).

    verl does not pass the prompt, so it is read from `extra_info[prompt_key]`. With `reference` the
    ground truth is the reference answer.
    Raises Unscored, since verl's reward is a number: catch it where a number of your own choice is right.
    """

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _verl_item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number(client.judge([item], **options).data[0], data_source)

    return compute_score


def async_verl_score(
    client: AsyncJudgeClient, *, prompt_key: str = "question", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[float]]:
    """`verl_score` as a coroutine function, which verl awaits for many samples at once."""

    async def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _verl_item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number((await client.judge([item], **options)).data[0], data_source)

    return compute_score


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


def inspect_score(
    client: AsyncJudgeClient, *, reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[Any]]:
    """The function that an inspect_ai scorer returns (`Scorer` in inspect_ai/scorer/_scorer.py).

    Wrap it: `@scorer(metrics=[mean(), stderr()])` over `def selfreward(): return inspect_score(client)`. With
    `reference` the target is the reference answer. An answer without a score becomes `Score.unscored`, which
    inspect_ai's metrics leave out.
    """

    async def score(state: Any, target: Any) -> Any:
        from inspect_ai.scorer import Score

        item = JudgeItem(
            prompt=state.input_text, response=state.output.completion, reference=target.text if reference else None
        )
        answer = await client.judge([item], **options)
        judgment = answer.data[0]
        said = {
            "answer": state.output.completion,
            "explanation": explanation(judgment),
            "metadata": _metadata(judgment, answer.rubric, answer.judge_version),
        }
        return Score.unscored(**said) if judgment.score is None else Score(value=judgment.score, **said)

    return score


def explanation(judgment: Judgment) -> str | None:
    """What the judge wrote in the valid vote that is nearest to the score; why there is none otherwise."""
    score = judgment.score
    if score is None:
        return judgment.failure_reason
    valid = [(abs(vote.score - score), vote.text) for vote in judgment.votes if vote.score is not None]
    return min(valid, key=lambda pair: pair[0], default=(0.0, None))[1]


def _trl_items(
    prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any], reference: str | None
) -> list[JudgeItem]:
    if reference is not None and reference not in columns:
        known = ", ".join(sorted(columns)) or "none"
        raise ValueError(f"reference={reference!r} is not a column of the dataset: use one of {known}")
    references = columns[reference] if reference else [None] * len(prompts)
    return [
        JudgeItem(
            prompt=conversation(prompt, "prompts"),
            response=conversation(completion, "completions"),
            reference=None if known is None else str(known),
        )
        for prompt, completion, known in zip(prompts, completions, references, strict=True)
    ]


def _verl_item(prompt_key: str, solution: str, ground_truth: Any, extra_info: Any) -> JudgeItem:
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        keys = ", ".join(sorted(extra_info or {})) or "nothing"
        raise ValueError(
            f"extra_info[{prompt_key!r}] is missing, it has {keys}: put the prompt there when you prepare the data, "
            "or name its key as prompt_key"
        )
    reference = None if ground_truth is None else str(ground_truth)
    return JudgeItem(prompt=conversation(prompt, f"extra_info[{prompt_key!r}]"), response=solution, reference=reference)


def _number(judgment: Judgment, data_source: Any) -> float:
    if judgment.score is None:
        raise Unscored(
            f"the judge gave an answer from data_source={data_source!r} no score: {judgment.failure_reason}; "
            "ask for more votes or tokens, or catch selfreward.integrations.trl.Unscored and choose a reward"
        )
    return judgment.score


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


def _metadata(judgment: Judgment, rubric: str, version: str) -> dict[str, Any]:
    return {
        "rubric": rubric,
        "judge_version": version,
        "status": judgment.status,
        "votes": [vote.score for vote in judgment.votes],
        "failure_kind": judgment.failure_kind,
    }
