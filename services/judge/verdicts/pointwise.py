"""Judge responses one by one: each gets a score by points, by criteria or by a binary verdict."""

from collections.abc import Callable, Sequence

from selfreward.contracts.conversations import nothing_to_judge
from selfreward.contracts.judging import (
    Aggregation,
    Criterion,
    JudgeItem,
    JudgeRequest,
    JudgeResponse,
    Judgment,
    Vote,
)
from services.judge.engine.reply import Completion
from services.judge.reading.criteria import CriteriaForm, earned_weights, explicit_sum
from services.judge.reading.read import Reading, VerdictForm, read
from services.judge.reading.score import ScoreForm
from services.judge.reading.words import correctness
from services.judge.rubrics.rubric import Rubric
from services.judge.verdicts.aggregate import aggregate_votes
from services.judge.verdicts.jury import Jury, ask_jury
from services.judge.verdicts.logprobs import expected_score, word_probabilities
from services.judge.verdicts.question import Question
from services.judge.verdicts.questions import QuestionVotes
from services.judge.verdicts.sampling import VoteSampling, item_seeds, sampling_of


async def judge_batch(jury: Jury, rubric: Rubric, request: JudgeRequest, answer_id: str) -> JudgeResponse:
    """Judge every item of a request. Raises as `ask_jury` does."""
    aggregation = request.aggregation or rubric.spec.aggregation
    sampling = sampling_of(rubric.spec, request, expected=aggregation == "expected")
    judged, judgments = await judge_items(jury, rubric, request.items, sampling, aggregation, request.seed)
    return JudgeResponse(
        id=answer_id, rubric=rubric.id, judge_version=judged.version, data=judgments, usage=judged.usage
    )


async def judge_items(
    jury: Jury,
    rubric: Rubric,
    items: Sequence[JudgeItem],
    sampling: VoteSampling,
    aggregation: Aggregation,
    seed: int | None,
) -> tuple[QuestionVotes[Vote], list[Judgment]]:
    """All votes, and the judgment of each item in order. Raises as `ask_jury` does."""
    seeds = item_seeds(seed, [item.id for item in items])
    values = [rubric.values(item) for item in items]

    def questions(prompts: Sequence[str]) -> list[Question[Vote]]:
        return [
            _question(rubric, item, prompt, item_seed, expected=aggregation == "expected")
            for item, prompt, item_seed in zip(items, prompts, seeds, strict=True)
        ]

    judged = await ask_jury(jury, rubric.template, values, questions, sampling)
    return judged, [
        aggregate_votes(index, item.id, votes, sampling.min_valid_votes, aggregation)
        for index, (item, votes) in enumerate(zip(items, judged.votes, strict=True))
    ]


def _question(rubric: Rubric, item: JudgeItem, prompt: str, seed: int | None, *, expected: bool) -> Question[Vote]:
    def question(form: VerdictForm[object], read_vote: Callable[[Completion], Vote]) -> Question[Vote]:
        held_to = form if rubric.spec.guided else None
        nothing = nothing_to_judge(prompt=item.prompt, response=item.response)
        return Question(prompt, read_vote, _error_vote, seed, held_to, nothing)

    if rubric.spec.numbered:
        criteria = item.criteria or rubric.spec.criteria
        criteria_form = CriteriaForm(rubric.spec.verdict_label, len(criteria))
        return question(criteria_form, lambda completion: _read_criteria(completion, criteria_form, criteria))
    score_form = rubric.score_form
    if expected:
        return question(score_form, lambda completion: _read_expected_score(completion, score_form))
    form: VerdictForm[float] = correctness(rubric.spec.verdict_label) if rubric.spec.kind == "binary" else score_form
    return question(form, lambda completion: _read_score(completion, form))


def _error_vote(why: str) -> Vote:
    return Vote(status="error", text=why, reason=why)


def _read_score(completion: Completion, form: VerdictForm[float]) -> Vote:
    reading = read(completion.text, completion.finish_reason, form, completion.refusal)
    return _vote(reading, reading.value)


def _read_criteria(completion: Completion, form: CriteriaForm, criteria: Sequence[Criterion]) -> Vote:
    reading = read(completion.text, completion.finish_reason, form, completion.refusal)
    if reading.value is None:
        return _vote(reading, None)
    earned = earned_weights(criteria, reading.value)
    return _vote(reading, explicit_sum(criteria, earned), criteria=earned)


def _read_expected_score(completion: Completion, form: ScoreForm) -> Vote:
    reading = read(completion.text, completion.finish_reason, form, completion.refusal)
    if reading.value is None:
        return _vote(reading, None)
    if not reading.value.is_integer():
        reason = f"{reading.value:g} is no single digit, whose probabilities are read: use aggregation 'mean'"
        return Vote(status="unparsed", text=reading.text, finish_reason=reading.finish_reason, reason=reason)
    words = word_probabilities(completion.logprobs, completion.text, reading.start)
    expected = expected_score(words, form.minimum, form.maximum)
    if expected is None:
        reason = "the engine gave no probabilities of the score's token: use another aggregation"
        return Vote(status="error", text=reading.text, finish_reason=reading.finish_reason, reason=reason)
    return _vote(reading, reading.value, expected=expected)


def _vote(
    reading: Reading[object],
    score: float | None,
    expected: float | None = None,
    criteria: list[bool] | None = None,
) -> Vote:
    return Vote(
        score=score,
        status=reading.status,
        text=reading.text,
        finish_reason=reading.finish_reason,
        reason=reading.reason,
        expected=expected,
        criteria=criteria,
    )
