"""Rank candidates: listwise, all in one prompt and in both orders, or pointwise, each by its own score."""

from collections.abc import Callable, Sequence

from selfreward.contracts.comparisons import RankItem, RankRequest, RankResponse, RankVote
from selfreward.contracts.conversations import nothing_to_judge
from selfreward.contracts.judging import JudgeItem
from services.judge.engine.reply import Completion
from services.judge.reading.ranking import RankForm
from services.judge.reading.read import read
from services.judge.rubrics.rubric import Rubric
from services.judge.rubrics.spec import POINTWISE
from services.judge.rubrics.template import Part, Value, as_text
from services.judge.verdicts.aggregate import aggregate_rank_votes, rank_judgments
from services.judge.verdicts.jury import Jury, ask_jury
from services.judge.verdicts.pointwise import judge_items
from services.judge.verdicts.question import Question
from services.judge.verdicts.sampling import derive_seed, item_seeds, sampling_of


async def rank(jury: Jury, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    """Rank the candidates of every item. Raises as `ask_jury` does."""
    rank_items = _rank_pointwise if rubric.spec.kind in POINTWISE else _rank_listwise
    return await rank_items(jury, rubric, request, answer_id)


async def _rank_listwise(jury: Jury, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    # Ask one question for each item and order.
    items = request.entries
    sampling = sampling_of(rubric.spec, request)
    orders = (False, True) if request.swap else (False,)
    values = [_values(item, is_reversed) for item in items for is_reversed in orders]
    seeds = item_seeds(request.seed, [item.id for item in items])

    def questions(prompts: Sequence[str]) -> list[Question[RankVote]]:
        filled = iter(prompts)
        return [
            _question(rubric, item, next(filled), seed, is_reversed)
            for item, seed in zip(items, seeds, strict=True)
            for is_reversed in orders
        ]

    judged = await ask_jury(jury, rubric.template, values, questions, sampling)

    # Aggregate the votes of each item over its orders.
    by_item = [judged.votes[start : start + len(orders)] for start in range(0, len(values), len(orders))]
    return RankResponse(
        id=answer_id,
        rubric=rubric.id,
        judge_version=judged.version,
        data=[
            aggregate_rank_votes(index, item, votes_by_order, sampling.min_valid_votes)
            for index, (item, votes_by_order) in enumerate(zip(items, by_item, strict=True))
        ],
        usage=judged.usage,
    )


def _question(rubric: Rubric, item: RankItem, prompt: str, seed: int | None, is_reversed: bool) -> Question[RankVote]:
    form = RankForm(rubric.spec.verdict_label, len(item.candidates))
    held_to = form if rubric.spec.guided else None
    candidates = {f"candidates.{place}": candidate for place, candidate in enumerate(item.candidates)}
    nothing = nothing_to_judge(prompt=item.prompt, **candidates)
    order_seed = derive_seed(seed, "reversed") if seed is not None and is_reversed else seed
    return Question(prompt, _vote_reader(form, is_reversed), _error_vote(is_reversed), order_seed, held_to, nothing)


def _values(item: RankItem, is_reversed: bool) -> dict[str, Value]:
    candidates = item.candidates[::-1] if is_reversed else item.candidates
    return {
        "prompt": as_text(item.prompt),
        "reference": item.reference or "",
        "candidates": [Part(str(place), as_text(candidate)) for place, candidate in enumerate(candidates, 1)],
    }


async def _rank_pointwise(jury: Jury, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    # Judge each candidate as an item of its own.
    entries, aggregation = request.entries, rubric.spec.aggregation
    items = [
        JudgeItem(
            id=f"{index if entry.id is None else entry.id}/{position}",
            prompt=entry.prompt,
            response=candidate,
            reference=entry.reference,
        )
        for index, entry in enumerate(entries)
        for position, candidate in enumerate(entry.candidates)
    ]
    sampling = sampling_of(rubric.spec, request, expected=aggregation == "expected")
    judged, judgments = await judge_items(jury, rubric, items, sampling, aggregation, request.seed)

    # Rank the candidates of each entry by their scores.
    data, start = [], 0
    for index, entry in enumerate(entries):
        data.append(rank_judgments(index, entry, judgments[start : start + len(entry.candidates)]))
        start += len(entry.candidates)
    return RankResponse(id=answer_id, rubric=rubric.id, judge_version=judged.version, data=data, usage=judged.usage)


def _vote_reader(form: RankForm, is_reversed: bool) -> Callable[[Completion], RankVote]:
    def read_vote(completion: Completion) -> RankVote:
        reading = read(completion.text, completion.finish_reason, form, completion.refusal)
        scores = reading.value
        return RankVote(
            shown="reversed" if is_reversed else "given",
            scores=scores[::-1] if is_reversed and scores is not None else scores,
            status=reading.status,
            text=reading.text,
            finish_reason=reading.finish_reason,
            reason=reading.reason,
        )

    return read_vote


def _error_vote(is_reversed: bool) -> Callable[[str], RankVote]:
    return lambda why: RankVote(shown="reversed" if is_reversed else "given", status="error", text=why, reason=why)
