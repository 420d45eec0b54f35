"""TRL: the judge as a reward function. An answer without a score gets None, which TRL leaves out.

So does an answer in which there is nothing to judge, or which is not text. Tool calls are judged as text.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.judging import JudgeItem
from selfreward.integrations.items import sample_item

Rewards = list[float | None]


def trl_reward(
    client: JudgeClient, *, reference: str | None = None, **options: Unpack[JudgeOptions]
) -> Callable[..., Rewards]:
    """A reward function for TRL's `reward_funcs` (trl/trainer/grpo_trainer.py, `_calculate_rewards`).

    Prompts and completions are texts or message lists. `reference` is the dataset column with reference answers.
    """

    def judge_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        items = _items(prompts, completions, columns, reference)
        return [judged.judgment.score for judged in client.judge_many(items, **options)]

    return judge_reward


def async_trl_reward(
    client: AsyncJudgeClient, *, reference: str | None = None, **options: Unpack[JudgeOptions]
) -> Callable[..., Awaitable[Rewards]]:
    """`trl_reward` as a coroutine function, which TRL runs concurrently with its other asynchronous rewards.

    TRL awaits it on an event loop of its own, `trainer.async_loop`: close the client on that loop.
    """

    async def judge_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Rewards:
        items = _items(prompts, completions, columns, reference)
        return [judged.judgment.score async for judged in client.judge_stream(items, **options)]

    return judge_reward


def _items(
    prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Any], reference: str | None
) -> list[JudgeItem]:
    if reference is not None and reference not in columns:
        names = ", ".join(sorted(columns)) or "none"
        raise ValueError(f"reference={reference!r} is not a column of the dataset: use one of {names}")
    references = columns[reference] if reference else [None] * len(prompts)
    return [
        sample_item(prompt, completion, ("prompts", "completions"), None if answer is None else str(answer))
        for prompt, completion, answer in zip(prompts, completions, references, strict=True)
    ]
