"""prometheus-eval: its grading methods, answered by our judge.

Names, arguments and return values are those of `PrometheusEval` (prometheus_eval/judge.py). A program written for it
meets three differences: a rubric is the name of one that the judge serves, not its text; a score is a mean of votes,
not a whole number; and where prometheus-eval would sample again, the score (or the winner) is None.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, cast

from selfreward.client.judge_inputs import JudgeOptions, PairwiseOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.comparisons import PairItem
from selfreward.contracts.judging import JudgeItem
from selfreward.integrations.explanation import explanation

_WINNERS = {"a": "A", "b": "B"}
_ABSOLUTE = {"n": "votes", "temperature": "temperature", "top_p": "top_p", "max_tokens": "max_tokens", "seed": "seed"}
_RELATIVE = {"n": "votes", "seed": "seed"}


class PrometheusJudge:
    """Grades single answers and pairs of answers.

    `params` may have `n`, `temperature`, `top_p`, `max_tokens` and `seed`; for pairs `n` and `seed` only.
    """

    def __init__(self, client: JudgeClient) -> None:
        self.client = client

    def absolute_grade(
        self,
        *,
        instructions: Sequence[str],
        responses: Sequence[str],
        rubric: Sequence[str] | str,
        reference_answers: Sequence[str | None] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[list[str], list[float | None]]:
        """Feedbacks and scores, one of each for each response. `rubric` is one for all responses, or a list of them."""
        # Check the arguments.
        rubrics = _one_per_instruction("rubric", rubric, len(instructions))
        references = _one_per_instruction("reference_answers", reference_answers, len(instructions))
        _check_length("responses", responses, len(instructions))
        options = cast(JudgeOptions, _options(params, _ABSOLUTE))
        items = [
            JudgeItem(prompt=instruction, response=response, reference=reference)
            for instruction, response, reference in zip(instructions, responses, references, strict=True)
        ]

        # Judge consecutive items of one rubric together.
        feedbacks, scores = [], []
        for name, places in groupby(range(len(items)), lambda place: rubrics[place]):
            chosen = [items[place] for place in places]
            options["rubric"] = name
            for judged in self.client.judge_many(chosen, **options):
                feedbacks.append(explanation(judged.judgment) or "")
                scores.append(judged.judgment.score)
        return feedbacks, scores

    def single_absolute_grade(
        self,
        instruction: str,
        response: str,
        rubric: str,
        reference_answer: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[str, float | None]:
        """Feedback and score of one response."""
        feedbacks, scores = self.absolute_grade(
            instructions=[instruction],
            responses=[response],
            rubric=rubric,
            reference_answers=[reference_answer],
            params=params,
        )
        return feedbacks[0], scores[0]

    def relative_grade(
        self,
        *,
        instructions: Sequence[str],
        responses_A: Sequence[str],  # noqa: N803
        responses_B: Sequence[str],  # noqa: N803
        rubric: Sequence[str] | str,
        reference_answers: Sequence[str | None] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[list[str], list[str | None]]:
        """Feedbacks and winners (`A`, `B`, or None for a tie or no verdict). Each pair is judged in both orders.

        Reference answers need a rubric that compares with one, such as `pairwise_reference`.
        """
        # Check the arguments.
        rubrics = _one_per_instruction("rubric", rubric, len(instructions))
        _check_length("responses_A", responses_A, len(instructions))
        _check_length("responses_B", responses_B, len(instructions))
        references = _one_per_instruction("reference_answers", reference_answers, len(instructions))
        options = cast(PairwiseOptions, _options(params, _RELATIVE))
        pairs = [
            PairItem(prompt=instruction, a=a, b=b, reference=reference)
            for instruction, a, b, reference in zip(instructions, responses_A, responses_B, references, strict=True)
        ]

        # Compare consecutive pairs of one rubric together.
        feedbacks: list[str] = []
        winners: list[str | None] = []
        for name, places in groupby(range(len(pairs)), lambda place: rubrics[place]):
            chosen = [pairs[place] for place in places]
            options["rubric"] = name
            for comparison in self.client.compare(chosen, **options):
                winners.append(_WINNERS.get(comparison.winner))
                texts = [vote.text for vote in comparison.votes if vote.winner == comparison.winner]
                feedbacks.append(texts[0] if texts else comparison.failure_reason or "the two orders disagree")
        return feedbacks, winners

    def single_relative_grade(
        self,
        instruction: str,
        response_A: str,  # noqa: N803
        response_B: str,  # noqa: N803
        rubric: str,
        reference_answer: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[str, str | None]:
        """Feedback and winner of one pair."""
        feedbacks, winners = self.relative_grade(
            instructions=[instruction],
            responses_A=[response_A],
            responses_B=[response_B],
            rubric=rubric,
            reference_answers=[reference_answer],
            params=params,
        )
        return feedbacks[0], winners[0]


def _one_per_instruction(name: str, value: Sequence[Any] | str | None, count: int) -> Sequence[Any]:
    if value is None or isinstance(value, str):
        return [value] * count
    _check_length(name, value, count)
    return value


def _check_length(name: str, values: Sequence[Any], count: int) -> None:
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries for {count} instructions: give one each")


def _options(params: Mapping[str, Any] | None, allowed: Mapping[str, str]) -> dict[str, Any]:
    unknown = set(params or {}) - set(allowed)
    if unknown:
        raise ValueError(f"params has {', '.join(sorted(unknown))}: only {', '.join(allowed)} can be set at the judge")
    return {allowed[name]: value for name, value in (params or {}).items()}
