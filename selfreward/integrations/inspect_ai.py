"""inspect_ai: the judge as a scorer."""

from collections.abc import Awaitable, Callable
from typing import Any, Unpack

from selfreward.client.judge import AsyncJudgeClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.contracts.judging import JudgeItem
from selfreward.integrations.explanation import explanation, metadata


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
        response = await client.judge([item], **options)
        judgment = response.data[0]
        details = {
            "answer": state.output.completion,
            "explanation": explanation(judgment),
            "metadata": metadata(judgment, response.rubric, response.judge_version),
        }
        return Score.unscored(**details) if judgment.score is None else Score(value=judgment.score, **details)

    return score
