"""inspect_ai: a scorer's value and explanation from a judgment."""

from collections.abc import Awaitable, Callable
from typing import Any, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.contracts.judging import JudgeItem, Judgment


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


def _metadata(judgment: Judgment, rubric: str, version: str) -> dict[str, Any]:
    return {
        "rubric": rubric,
        "judge_version": version,
        "status": judgment.status,
        "votes": [vote.score for vote in judgment.votes],
        "failure_kind": judgment.failure_kind,
    }
