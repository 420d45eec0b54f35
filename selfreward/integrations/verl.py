"""verl: the judge as a `custom_reward_function`."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.integrations.items import sample_item

_log = logging.getLogger(__name__)


def verl_score(
    client: JudgeClient,
    *,
    prompt_key: str = "question",
    reference: bool = False,
    unscored: float = math.nan,
    **options: Unpack[JudgeOptions],
) -> Callable[..., float]:
    """A `compute_score` for verl's `custom_reward_function` (verl/workers/reward_manager/naive.py).

    Reads the prompt from `extra_info[prompt_key]`, because verl does not pass it. With `reference` the ground truth is
    the reference answer. An answer without a score gets `unscored`, and a warning says why. NaN, the default, is no
    number that could be learned from: verl skips the update of a mini-batch whose gradient is not finite
    (verl/workers/actor/dp_actor.py). Give a number of your choice to keep those updates.
    """

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number(client.judge([item], **options).data[0], data_source, unscored)

    return compute_score


def async_verl_score(
    client: AsyncJudgeClient,
    *,
    prompt_key: str = "question",
    reference: bool = False,
    unscored: float = math.nan,
    **options: Unpack[JudgeOptions],
) -> Callable[..., Awaitable[float]]:
    """`verl_score` as a coroutine function, which verl awaits for many samples at once."""

    async def compute_score(
        data_source: Any, solution_str: str, ground_truth: Any = None, extra_info: Any = None, **_: Any
    ) -> float:
        item = _item(prompt_key, solution_str, ground_truth if reference else None, extra_info)
        return _number((await client.judge([item], **options)).data[0], data_source, unscored)

    return compute_score


def _item(prompt_key: str, solution: Any, ground_truth: Any, extra_info: Any) -> JudgeItem:
    prompt = (extra_info or {}).get(prompt_key)
    if prompt is None:
        keys = ", ".join(sorted(extra_info or {})) or "nothing"
        raise ValueError(
            f"extra_info[{prompt_key!r}] is missing, it has {keys}: put the prompt there when you prepare the data, "
            "or name its key as prompt_key"
        )
    reference = None if ground_truth is None else str(ground_truth)
    return sample_item(prompt, solution, (f"extra_info[{prompt_key!r}]", "solution_str"), reference)


def _number(judgment: Judgment, data_source: Any, unscored: float) -> float:
    if judgment.score is None:
        _log.warning("no score for an answer from data_source=%r: %s", data_source, judgment.failure_reason)
        return unscored
    return judgment.score
