"""Judge responses one by one: points, criteria or a binary verdict for each."""

from collections.abc import Callable, Sequence

from selfreward.contracts.judging import (
    Aggregation,
    Criterion,
    JudgeItem,
    JudgeRequest,
    JudgeResponse,
    Judgment,
    Vote,
)
from services.judge.engine.engine import Choice, Engine
from services.judge.reading.criteria import CriteriaForm, earned, explicit_sum
from services.judge.reading.read import Form, Reading, VerdictFormat, read
from services.judge.reading.words import correctness
from services.judge.rubrics.rubric import Rubric
from services.judge.verdicts.aggregate import aggregate
from services.judge.verdicts.logprobs import at_verdict, expected_score
from services.judge.verdicts.questions import Judged, Question, judge_questions
from services.judge.verdicts.sampling import Sampling, item_seeds, sampling_of


async def judge_batch(engine: Engine, rubric: Rubric, request: JudgeRequest, answer_id: str) -> JudgeResponse:
    """Judge every item of a request. Raises as `judge_questions` does."""
    how = request.aggregation or rubric.spec.aggregation
    sampling = sampling_of(rubric.spec, request, expected=how == "expected")
    judged, judgments = await judge_items(engine, rubric, request.items, sampling, how, request.seed)
    return JudgeResponse(
        id=answer_id, rubric=rubric.id, judge_version=judged.version, data=judgments, usage=judged.usage
    )


async def judge_items(
    engine: Engine,
    rubric: Rubric,
    items: Sequence[JudgeItem],
    sampling: Sampling,
    how: Aggregation,
    seed: int | None,
) -> tuple[Judged[Vote], list[Judgment]]:
    """All votes, and the judgment of each item in order."""
    seeds = item_seeds(seed, [item.id for item in items])
    questions = [
        _question(rubric, item, item_seed, expected=how == "expected")
        for item, item_seed in zip(items, seeds, strict=True)
    ]
    judged = await judge_questions(engine, questions, sampling)
    return judged, [
        aggregate(index, item.id, votes, sampling.min_valid_votes, how)
        for index, (item, votes) in enumerate(zip(items, judged.votes, strict=True))
    ]


def _question(rubric: Rubric, item: JudgeItem, seed: int | None, *, expected: bool) -> Question[Vote]:
    def question(form: Form[object], cast: Callable[[Choice], Vote]) -> Question[Vote]:
        return Question(rubric.prompt(item), cast, _failed, seed, form.pattern if rubric.spec.guided else None)

    if rubric.spec.numbered:
        criteria = item.criteria or rubric.spec.criteria
        by_criteria = CriteriaForm(rubric.spec.verdict_label, len(criteria))
        return question(by_criteria, _by_criteria(by_criteria, criteria))
    if expected:
        return question(rubric.verdict, _by_probabilities(rubric.verdict))
    form: Form[float] = correctness(rubric.spec.verdict_label) if rubric.spec.kind == "binary" else rubric.verdict
    return question(form, _by_number(form))


def _failed(why: str) -> Vote:
    return Vote(status="error", text=why, reason=why)


def _by_number(form: Form[float]) -> Callable[[Choice], Vote]:
    def cast(choice: Choice) -> Vote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        return _vote(reading, reading.value)

    return cast


def _by_criteria(form: CriteriaForm, criteria: Sequence[Criterion]) -> Callable[[Choice], Vote]:
    def cast(choice: Choice) -> Vote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        if reading.value is None:
            return _vote(reading, None)
        gained = earned(criteria, reading.value)
        return _vote(reading, explicit_sum(criteria, gained), criteria=gained)

    return cast


def _by_probabilities(form: VerdictFormat) -> Callable[[Choice], Vote]:
    def cast(choice: Choice) -> Vote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        if reading.value is None:
            return _vote(reading, None)
        if not reading.value.is_integer():
            reason = f"{reading.value:g} is no single digit, whose probabilities are read: use aggregation 'mean'"
            return Vote(status="unparsed", text=reading.text, finish_reason=reading.finish_reason, reason=reason)
        words = at_verdict(choice.logprobs, choice.text, reading.start)
        expected = expected_score(words, form.minimum, form.maximum)
        if expected is None:
            reason = "the engine gave no probabilities of the score's token: use another aggregation"
            return Vote(status="error", text=reading.text, finish_reason=reading.finish_reason, reason=reason)
        return _vote(reading, reading.value, expected=expected)

    return cast


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
