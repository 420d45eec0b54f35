"""How many votes can be read, before and after the engine writes the missing verdicts.

``python -m bench.verdicts --engine http://127.0.0.1:8000 --rubric additive5`` judges 50 answers with 3 votes each
through the judge's application and prints the votes by status, as JSON. `before` is what the votes' own text holds: a
vote that is `constrained` had no readable verdict. The engine serves its model as `policy`.
"""

import argparse
import asyncio
import json
from collections import Counter
from typing import Any

import httpx

from bench.judge import items as countdown_items
from selfreward.contracts.judging import JudgeResponse
from services.judge.app import create_app
from services.judge.settings import JudgeSettings

VOTES = 3
CHUNK = 10
_QUESTIONS = (
    "What is the capital of France?",
    "Name three uses of baking soda.",
    "Explain why the sky is blue.",
    "Write a haiku about rain.",
    "How do I boil an egg?",
    "What does HTTP 404 mean?",
    "Give a synonym of happy.",
    "Who wrote Hamlet?",
    "What is 17 times 6?",
    "Translate good morning into Spanish.",
)
_ANSWERS = (
    "Paris is the capital of France.",
    "I do not know.",
    "It is because of Rayleigh scattering: short wavelengths scatter more.",
    "102",
    "Put it into boiling water for eight minutes, then cool it.",
)


def items(rubric: str, count: int) -> list[dict[str, Any]]:
    """Answers to judge: of Countdown for its own rubric, else of everyday questions, most of them wrong."""
    if rubric.startswith("countdown"):
        return countdown_items(count)
    pairs = [(question, answer) for answer in _ANSWERS for question in _QUESTIONS]
    return [{"prompt": prompt, "response": response} for prompt, response in pairs[:count]]


async def measure(engine: str, rubric: str, count: int, max_tokens: int | None) -> dict[str, Any]:
    """The votes by status before and after, and the tokens that they took."""
    app = create_app(JudgeSettings(generator_url=engine, redis_url="redis://127.0.0.1:9/0", judge_engine_deadline=3600))
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    tokens = 0
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://judge", timeout=3600) as client,
    ):
        batch = items(rubric, count)
        for start in range(0, count, CHUNK):
            body = {
                "rubric": rubric,
                "items": batch[start : start + CHUNK],
                "votes": VOTES,
                "seed": 1,
                "max_tokens": max_tokens,
            }
            answer = (await client.post("/v1/judge", json=body)).raise_for_status()
            judged = JudgeResponse.model_validate_json(answer.content)
            votes = [vote for judgment in judged.data for vote in judgment.votes]
            after.update(vote.status for vote in votes)
            before.update("unreadable" if vote.constrained else vote.status for vote in votes)
            tokens += judged.usage.completion_tokens
    return {"rubric": rubric, "votes": after.total(), "before": before, "after": after, "completion_tokens": tokens}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="How many votes can be read?")
    parser.add_argument("--engine", required=True, help="base URL of the engine, without /v1")
    parser.add_argument("--rubric", default="additive5")
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, help="by default the rubric's")
    arguments = parser.parse_args()
    print(
        json.dumps(
            asyncio.run(measure(arguments.engine, arguments.rubric, arguments.items, arguments.max_tokens)), indent=1
        )
    )


if __name__ == "__main__":
    main()
