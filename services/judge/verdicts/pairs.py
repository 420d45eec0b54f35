"""Compare two responses, or two judgments, in both orders; what both orders say counts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import (
    Comparison,
    MetaItem,
    MetaRequest,
    Order,
    PairItem,
    PairRequest,
    PairResponse,
    PairVerdict,
    PairVote,
    Side,
)
from services.judge.engine.engine import Choice, Engine
from services.judge.reading.read import read
from services.judge.reading.words import ChoiceForm, FiveWayForm, sides
from services.judge.rubrics.neutralise import neutralise
from services.judge.rubrics.rubric import Rubric
from services.judge.rubrics.template import as_text
from services.judge.verdicts.aggregate import agreement, failure
from services.judge.verdicts.logprobs import at_verdict, preference
from services.judge.verdicts.questions import Question, judge_questions
from services.judge.verdicts.sampling import another_seed, item_seeds, sampling_of

_OTHER: dict[Side, Side] = {"a": "b", "b": "a", "tie": "tie"}


async def compare_responses(engine: Engine, rubric: Rubric, request: PairRequest, answer_id: str) -> PairResponse:
    """Judge every pair. Raises as `judge_questions` does."""
    principles = [drawn_principle(rubric, item, request.seed) for item in request.items]
    prompts = [
        rubric.template.fill_with({**shown_pair(request.items[index], order), "principle": principles[index] or ""})
        for index, order, _ in looks(request, request.items)
    ]
    return await compare(engine, rubric, request, request.items, prompts, principles, answer_id)


async def compare_judgments(engine: Engine, rubric: Rubric, request: MetaRequest, answer_id: str) -> PairResponse:
    """Meta-judge every pair of judgments (2407.19594, 2.2). Raises as `judge_questions` does."""
    items = request.entries

    def shown(index: int, order: Order) -> Mapping[str, str]:
        item = items[index]
        first, second = item.judgment_a, item.judgment_b
        first, second = (first, second) if order == "ab" else (second, first)
        prompt, response = as_text(item.prompt), as_text(item.response)
        return {"prompt": prompt, "response": response, "judgment_a": first, "judgment_b": second}

    prompts = [rubric.template.fill_with(shown(index, order)) for index, order, _ in looks(request, items)]
    return await compare(engine, rubric, request, items, prompts, [None] * len(items), answer_id)


def drawn_principle(rubric: Rubric, item: PairItem, seed: int | None) -> str | None:
    """The item's own principle, else one of the rubric's (Constitutional AI, 2212.08073, draws one for each pair);
    None where the template has none. The draw depends on the request's seed and on the texts, not on their order."""
    if "principle" not in rubric.template.fields:
        return None
    if item.principle is not None:
        return neutralise(item.principle, rubric.template.guard)
    texts = sorted([as_text(item.a), as_text(item.b)])
    drawn = int(content_key(seed, as_text(item.prompt), texts), 16)
    return rubric.spec.principles[drawn % len(rubric.spec.principles)]


async def compare(
    engine: Engine,
    rubric: Rubric,
    request: Comparison,
    items: Sequence[PairItem | MetaItem],
    prompts: Sequence[str],
    principles: Sequence[str | None],
    answer_id: str,
) -> PairResponse:
    """Judge every item by the filled prompts of its `looks`. Raises as `judge_questions` does."""
    form: ChoiceForm[Side] | FiveWayForm
    if rubric.spec.kind == "arena":
        form = FiveWayForm(rubric.spec.verdict_label)
    else:
        form = sides(rubric.spec.verdict_label, tie=rubric.spec.kind != "constitution")
    sampling = sampling_of(rubric.spec, request)
    orders = orders_of(request)
    questions = [
        Question(
            prompt,
            _five_way_reader(form, order) if isinstance(form, FiveWayForm) else _reader(form, order),
            _failer(order),
            seed,
            form.pattern if rubric.spec.guided else None,
        )
        for prompt, (_, order, seed) in zip(prompts, looks(request, items), strict=True)
    ]
    judged = await judge_questions(engine, questions, sampling)
    of_item = [
        [vote for votes in judged.votes[start : start + len(orders)] for vote in votes]
        for start in range(0, len(questions), len(orders))
    ]
    verdicts = [
        pair_verdict(index, item.id, votes, sampling.min_valid_votes, orders, principle)
        for index, (item, votes, principle) in enumerate(zip(items, of_item, principles, strict=True))
    ]
    return PairResponse(
        id=answer_id,
        rubric=rubric.id,
        judge_version=judged.version,
        data=verdicts,
        flip_rate=flip_rate(verdicts),
        usage=judged.usage,
    )


def _reader(form: ChoiceForm[Side], order: Order) -> Callable[[Choice], PairVote]:
    def cast(choice: Choice) -> PairVote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        winner, p_a = reading.value, None
        if winner is not None:
            p_a = preference(at_verdict(choice.logprobs, choice.text, reading.start))
            if order == "ba":
                winner, p_a = _OTHER[winner], None if p_a is None else 1 - p_a
        return PairVote(
            order=order,
            winner=winner,
            status=reading.status,
            text=reading.text,
            finish_reason=reading.finish_reason,
            reason=reading.reason,
            p_a=p_a,
        )

    return cast


def _five_way_reader(form: FiveWayForm, order: Order) -> Callable[[Choice], PairVote]:
    def cast(choice: Choice) -> PairVote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        winner, clearly = reading.value or (None, None)
        return PairVote(
            order=order,
            winner=_OTHER[winner] if winner is not None and order == "ba" else winner,
            clearly=clearly,
            status=reading.status,
            text=reading.text,
            finish_reason=reading.finish_reason,
            reason=reading.reason,
        )

    return cast


def _failer(order: Order) -> Callable[[str], PairVote]:
    return lambda why: PairVote(order=order, status="error", text=why, reason=why)


def pair_verdict(
    index: int,
    item_id: str | None,
    votes: list[PairVote],
    min_valid_votes: int,
    orders: Sequence[Order] = ("ab", "ba"),
    principle: str | None = None,
) -> PairVerdict:
    """The verdict on one pair; unscored when an order has fewer valid votes than `min_valid_votes` (or were cast)."""
    valid = [vote for vote in votes if vote.winner is not None]
    verdict = PairVerdict(
        id=str(index) if item_id is None else item_id,
        index=index,
        winner="unscored",
        status="unscored",
        votes=votes,
        valid_votes=len(valid),
        principle=principle,
    )
    for order in orders:
        cast = [vote for vote in votes if vote.order == order]
        if sum(vote.winner is not None for vote in cast) < min(min_valid_votes, len(cast)):
            kind, reason = failure(cast, min_valid_votes)
            failed = {"failure_kind": kind, "failure_reason": f"order {order}: {reason}"}
            return verdict.model_copy(update=failed)
    winners = {order: _most_frequent([vote for vote in valid if vote.order == order]) for order in orders}
    agreed = len(set(winners.values())) == 1
    soft = all(vote.p_a is not None for vote in valid)
    return verdict.model_copy(
        update={
            "winner": winners[orders[0]] if agreed else "tie",
            "status": "ok" if len(valid) == len(votes) else "partial",
            "winner_ab": winners["ab"],
            "winner_ba": winners.get("ba"),
            "position_consistent": agreed if len(orders) > 1 else None,
            "p_a": sum(_p_a([vote for vote in valid if vote.order == order], soft) for order in orders) / len(orders),
            "p_a_from": "logprobs" if soft else "votes",
            "agreement": agreement([vote.winner for vote in valid]),
        }
    )


def flip_rate(verdicts: Sequence[PairVerdict]) -> float | None:
    """Share of the pairs decided in both orders whose verdicts differ; None when there is none."""
    decided = [verdict.position_consistent for verdict in verdicts if verdict.position_consistent is not None]
    return decided.count(False) / len(decided) if decided else None


def _most_frequent(votes: Sequence[PairVote]) -> Side:
    first, *others = Counter(vote.winner for vote in votes).most_common(2)
    return "tie" if first[0] is None or (others and others[0][1] == first[1]) else first[0]


def _p_a(votes: Sequence[PairVote], soft: bool) -> float:
    share = {"a": 1.0, "b": 0.0, "tie": 0.5}
    each = [vote.p_a if soft and vote.p_a is not None else share[vote.winner or "tie"] for vote in votes]
    return sum(each) / len(each)


class Look(NamedTuple):
    """One order in which an item, here its position, is shown; `seed` is of the verdicts on it."""

    item: int
    order: Order
    seed: int | None


def orders_of(request: Comparison) -> tuple[Order, ...]:
    """The orders in which each item is shown."""
    return ("ab", "ba") if request.swap else ("ab",)


def looks(request: Comparison, items: Sequence[PairItem | MetaItem]) -> list[Look]:
    """Every order of every item, those of an item together."""
    return [
        Look(index, order, seed if seed is None or order == "ab" else another_seed(seed, order))
        for index, seed in enumerate(item_seeds(request.seed, [item.id for item in items]))
        for order in orders_of(request)
    ]


def shown_pair(item: PairItem, order: Order) -> dict[str, str]:
    """What stands for each placeholder in one order."""
    first, second = (item.a, item.b) if order == "ab" else (item.b, item.a)
    return {
        "prompt": as_text(item.prompt),
        "response_a": as_text(first),
        "response_b": as_text(second),
        "reference": item.reference or "",
    }
