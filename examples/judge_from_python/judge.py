"""Judge answers from Python and tell a score from no score."""

import asyncio

from selfreward.contracts import JudgeItem
from selfreward.http import ServiceClient
from selfreward.judge_client import AsyncJudgeClient
from selfreward.settings import Settings, key_of

PROMPT = "Use 7 3 12 to make 33 ."
ANSWERS = {"right": "7 * 3 = 21 ; 21 + 12 = 33", "wrong": "7 + 3 = 11"}


async def main() -> None:
    """Judge the answers five times each."""
    settings = Settings()  # SELFREWARD_JUDGE_URL and SELFREWARD_API_KEY
    items = [JudgeItem(id=name, prompt=PROMPT, response=answer) for name, answer in ANSWERS.items()]
    async with ServiceClient(settings.judge_url, key_of(settings)) as service:
        judged = await AsyncJudgeClient(service).judge(items, rubric="countdown", votes=5, seed=1)
    print(f"judged by {judged.judge_version} with {judged.rubric}")
    for judgment in judged.data:
        votes = ", ".join("none" if vote.score is None else f"{vote.score:g}" for vote in judgment.votes)
        score = judgment.failure_reason if judgment.score is None else f"{judgment.score:.2f}"
        print(f"{judgment.id}: {score} (votes: {votes})")


if __name__ == "__main__":
    asyncio.run(main())
