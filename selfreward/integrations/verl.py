"""verl: the judge as a `custom_reward_function`."""

from collections.abc import Awaitable, Callable
from typing import Any, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions, conversation
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem, Judgment


class Unscored(ValueError):
    """The judge gave no score, and the caller can only take a number."""


def verl_score(
    client: JudgeClient, *, prompt_key: str = "question", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., float]:
    """A `compute_score` for verl's `custom_reward_function` (verl/workers/reward_manager/naive.py).

    Reads the prompt from `extra_info[prompt_key]`, because verl does not pass it. With `reference` the ground truth is
    the reference answer. The function raises Unscored where there is no score, because verl's reward is a number: catch
    it if a number of your choice is right.
    """

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number(client.judge([item], **options).data[0], data_source)

    return compute_score


def async_verl_score(
    client: AsyncJudgeClient, *, prompt_key: str = "question", reference: bool = False, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[float]]:
    """`verl_score` as a coroutine function, which verl awaits for many samples at once."""

    async def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number((await client.judge([item], **options)).data[0], data_source)

    return compute_score


def _item(prompt_key: str, solution: str, ground_truth: Any, extra_info: Any) -> JudgeItem:
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
            "ask for more votes or tokens, or catch selfreward.integrations.verl.Unscored and choose a reward"
        )
    return judgment.score
