"""Compare two responses, or two judgments of one response, in both orders; disagreement of the orders is a tie."""

from collections.abc import Callable, Mapping, Sequence

from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import (
    Comparison,
    MetaItem,
    MetaRequest,
    Order,
    PairItem,
    PairRequest,
    PairResponse,
    PairVote,
)
from selfreward.contracts.conversations import nothing_to_judge
from services.judge.engine.reply import Completion
from services.judge.reading.read import read
from services.judge.reading.sides import FiveWayForm, SideForm, sides
from services.judge.rubrics.rubric import Rubric
from services.judge.rubrics.template import Value, as_text
from services.judge.verdicts.aggregate import aggregate_pair_votes, flip_rate
from services.judge.verdicts.jury import Jury, ask_jury
from services.judge.verdicts.logprobs import probability_of_a, word_probabilities
from services.judge.verdicts.orders import judgment_texts, orders_of, presentations, response_texts, side_of_item
from services.judge.verdicts.question import Question
from services.judge.verdicts.sampling import sampling_of


async def compare_responses(jury: Jury, rubric: Rubric, request: PairRequest, answer_id: str) -> PairResponse:
    """Compare the two responses of every item. Raises as `ask_jury` does."""
    items = request.items
    principles = [choose_principle(rubric, item, request.seed) for item in items]
    values = [
        {**response_texts(items[index], order), "principle": principles[index] or ""}
        for index, order, _ in presentations(request, items)
    ]
    return await compare(jury, rubric, request, items, values, principles, answer_id)


async def compare_judgments(jury: Jury, rubric: Rubric, request: MetaRequest, answer_id: str) -> PairResponse:
    """Compare the two judgments of every item (meta-judging, 2407.19594, 2.2). Raises as `ask_jury` does."""
    items = request.entries
    values = [judgment_texts(items[index], order) for index, order, _ in presentations(request, items)]
    return await compare(jury, rubric, request, items, values, [None] * len(items), answer_id)


async def compare(
    jury: Jury,
    rubric: Rubric,
    request: Comparison,
    items: Sequence[PairItem | MetaItem],
    values: Sequence[Mapping[str, Value]],
    principles: Sequence[str | None],
    answer_id: str,
) -> PairResponse:
    """Judge every item by prompts with the `values`, one for each of its `presentations`. Raises as `ask_jury` does."""
    # Ask one question for each item and order.
    form: SideForm | FiveWayForm
    if rubric.spec.kind == "arena":
        form = FiveWayForm(rubric.spec.verdict_label)
    else:
        form = sides(rubric.spec.verdict_label, tie=rubric.spec.kind != "constitution")
    held_to = form if rubric.spec.guided else None
    sampling = sampling_of(rubric.spec, request)

    def questions(prompts: Sequence[str]) -> list[Question[PairVote]]:
        return [
            Question(prompt, _vote_reader(form, order), _error_vote(order), seed, held_to, _nothing_in(items[index]))
            for prompt, (index, order, seed) in zip(prompts, presentations(request, items), strict=True)
        ]

    judged = await ask_jury(jury, rubric.template, values, questions, sampling)

    # Aggregate the votes of each item over its orders.
    orders = orders_of(request)
    votes_by_item = [
        [vote for votes in judged.votes[start : start + len(orders)] for vote in votes]
        for start in range(0, len(values), len(orders))
    ]
    verdicts = [
        aggregate_pair_votes(index, item.id, votes, sampling.min_valid_votes, orders, principle)
        for index, (item, votes, principle) in enumerate(zip(items, votes_by_item, principles, strict=True))
    ]
    return PairResponse(
        id=answer_id,
        rubric=rubric.id,
        judge_version=judged.version,
        data=verdicts,
        flip_rate=flip_rate(verdicts),
        usage=judged.usage,
    )


def _nothing_in(item: PairItem | MetaItem) -> str | None:
    if isinstance(item, PairItem):
        return nothing_to_judge(prompt=item.prompt, a=item.a, b=item.b)
    return nothing_to_judge(prompt=item.prompt, response=item.response)


def choose_principle(rubric: Rubric, item: PairItem, seed: int | None) -> str | None:
    """The item's own principle, else one drawn from the rubric's list; None where the template has no principle.

    Constitutional AI (2212.08073) draws one for each pair. The draw depends on the request's seed and the texts, not on
    which of them is a.
    """
    if "principle" not in rubric.template.fields:
        return None
    if item.principle is not None:
        return item.principle
    texts = sorted([as_text(item.a), as_text(item.b)])
    draw = int(content_key(seed, as_text(item.prompt), texts), 16)
    return rubric.spec.principles[draw % len(rubric.spec.principles)]


def _vote_reader(form: SideForm | FiveWayForm, order: Order) -> Callable[[Completion], PairVote]:
    if isinstance(form, FiveWayForm):
        return lambda completion: _read_five_way(completion, form, order)
    return lambda completion: _read_side(completion, form, order)


def _read_side(completion: Completion, form: SideForm, order: Order) -> PairVote:
    reading = read(completion.text, completion.finish_reason, form, completion.refusal)
    winner, p_a = reading.value, None
    if winner is not None:
        p_a = probability_of_a(word_probabilities(completion.logprobs, completion.text, reading.start))
        if order == "ba" and p_a is not None:
            p_a = 1 - p_a
    return PairVote(
        order=order,
        winner=None if winner is None else side_of_item(winner, order),
        status=reading.status,
        text=reading.text,
        finish_reason=reading.finish_reason,
        reason=reading.reason,
        p_a=p_a,
    )


def _read_five_way(completion: Completion, form: FiveWayForm, order: Order) -> PairVote:
    reading = read(completion.text, completion.finish_reason, form, completion.refusal)
    winner, clearly = reading.value or (None, None)
    return PairVote(
        order=order,
        winner=None if winner is None else side_of_item(winner, order),
        clearly=clearly,
        status=reading.status,
        text=reading.text,
        finish_reason=reading.finish_reason,
        reason=reading.reason,
    )


def _error_vote(order: Order) -> Callable[[str], PairVote]:
    return lambda why: PairVote(order=order, status="error", text=why, reason=why)
