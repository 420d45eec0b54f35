"""A reward function for TRL's GRPOTrainer: `GRPOTrainer(reward_funcs=judge_reward, ...)`.

`python examples/judge_from_trl/reward.py` tries it.
"""

import asyncio
from typing import Any

from selfreward.contracts import JudgeItem
from selfreward.http import ServiceClient
from selfreward.judge_client import AsyncJudgeClient
from selfreward.settings import Settings, key_of

RUBRIC = "countdown"


async def judge_reward(prompts: list[Any], completions: list[Any], **_: Any) -> list[float | None]:
    """The judge's mean score of each completion; None where it has none, which TRL leaves out."""
    settings = Settings()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
    items = [
        JudgeItem.model_validate({"prompt": prompt, "response": completion})
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    async with ServiceClient(settings.judge_url, key_of(settings)) as service:
        judged = await AsyncJudgeClient(service).judge(items, rubric=RUBRIC, votes=5)
    return [judgment.score for judgment in judged.data]


if __name__ == "__main__":
    answers = ["7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 11"]
    print(asyncio.run(judge_reward(["Use 7 3 12 to make 33 ."] * 2, answers)))
