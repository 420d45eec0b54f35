"""Aggregate votes: a judgment of one response, the winner of a pair, or the order of candidates; or no verdict at all.

An invalid vote never counts as a number. With fewer valid votes than the minimum (or than were cast, if that is less)
the item is `unscored`, with the most frequent failure as its reason. All votes of a jury count alike, and
`disagreement` compares its engines.
"""

from collections import Counter
from collections.abc import Sequence
from math import sqrt
from statistics import median
from typing import TypeVar

from selfreward.contracts.comparisons import (
    ComparisonVote,
    Order,
    PairVerdict,
    PairVote,
    RankItem,
    RankVerdict,
    RankVote,
    Side,
)
from selfreward.contracts.judging import Aggregation, Judgment, Vote, VoteStatus

AnyVote = TypeVar("AnyVote", Vote, PairVote, RankVote)
_REMEDY: dict[VoteStatus, str] = {
    "truncated": "raise max_tokens",
    "unparsed": "the judge did not end with its verdict; see the votes' text",
    "out_of_range": "the judge left the rubric's scale; see the votes' text",
    "refused": "the judge declined; see the votes' text",
    "too_long": "shorten the item, or lower max_tokens, which takes its part of the engine's context",
    "nothing_to_judge": "the judge was not asked",
    "error": "the engine failed; see the votes' reason",
}


def aggregate_votes(
    index: int, item_id: str | None, votes: list[Vote], min_valid_votes: int, aggregation: Aggregation = "mean"
) -> Judgment:
    """The judgment of item `index`, whose position is its id unless it has one."""
    # Too few valid votes give no score.
    valid = [vote for vote in votes if vote.score is not None]
    name = str(index) if item_id is None else item_id
    if len(valid) < min(min_valid_votes, len(votes)):
        kind, reason = explain_failure(votes, min_valid_votes)
        return Judgment(
            id=name,
            index=index,
            status="unscored",
            votes=votes,
            valid_votes=len(valid),
            failure_kind=kind,
            failure_reason=reason,
        )

    # Otherwise the valid votes give one number.
    cast = [vote.score for vote in valid if vote.score is not None]
    expected = aggregation == "expected"
    scores = _scores(valid, expected)
    means = [sum(own) / len(own) for own in (_scores(votes_of_one, expected) for votes_of_one in _by_engine(valid))]
    return Judgment(
        id=name,
        index=index,
        score=aggregate_scores(scores, aggregation),
        status="ok" if len(valid) == len(votes) else "partial",
        votes=votes,
        stdev=_deviation(scores),
        agreement=_agreement(cast),
        disagreement=_deviation(means) if len(means) > 1 else None,
        valid_votes=len(valid),
    )


def aggregate_scores(scores: Sequence[float], aggregation: Aggregation) -> float:
    """The mean (also of expected scores), the median, or the most frequent score.

    Of equally frequent scores the lowest counts, so that a divided vote earns no more than is certain.
    """
    if aggregation == "median":
        return median(scores)
    if aggregation == "majority":
        counts = Counter(scores)
        return min(score for score, count in counts.items() if count == max(counts.values()))
    return sum(scores) / len(scores)


def aggregate_pair_votes(
    index: int,
    item_id: str | None,
    votes: list[PairVote],
    min_valid_votes: int,
    orders: Sequence[Order] = ("ab", "ba"),
    principle: str | None = None,
) -> PairVerdict:
    """The verdict on one pair. It needs `min_valid_votes` in each order."""
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

    # Each order needs its valid votes.
    for order in orders:
        cast = [vote for vote in votes if vote.order == order]
        if sum(vote.winner is not None for vote in cast) < min(min_valid_votes, len(cast)):
            kind, reason = explain_failure(cast, min_valid_votes)
            failed = {"failure_kind": kind, "failure_reason": f"order {order}: {reason}"}
            return verdict.model_copy(update=failed)

    # The pair has a winner where both orders agree.
    winners = {order: _most_frequent_winner([vote for vote in valid if vote.order == order]) for order in orders}
    agreed = len(set(winners.values())) == 1
    soft = all(vote.p_a is not None for vote in valid)
    p_a = sum(_p_a([vote for vote in valid if vote.order == order], soft) for order in orders) / len(orders)
    return verdict.model_copy(
        update={
            "winner": winners[orders[0]] if agreed else "tie",
            "status": "ok" if len(valid) == len(votes) else "partial",
            "winner_ab": winners["ab"],
            "winner_ba": winners.get("ba"),
            "position_consistent": agreed if len(orders) > 1 else None,
            "p_a": p_a,
            "p_a_from": "logprobs" if soft else "votes",
            "agreement": _agreement([vote.winner for vote in valid]),
            "disagreement": _minority([_own_winner(votes_of_one, orders) for votes_of_one in _by_engine(valid)]),
        }
    )


def flip_rate(verdicts: Sequence[PairVerdict]) -> float | None:
    """The share of the pairs decided in both orders whose orders disagree; None when there is no such pair."""
    decided = [verdict.position_consistent for verdict in verdicts if verdict.position_consistent is not None]
    return decided.count(False) / len(decided) if decided else None


def aggregate_rank_votes(
    index: int, item: RankItem, votes_by_order: Sequence[list[RankVote]], min_valid_votes: int
) -> RankVerdict:
    """The ranking of one item by the mean of its votes, with equal weights for the orders shown.

    It needs `min_valid_votes` in each order.
    """
    votes = [vote for group in votes_by_order for vote in group]
    valid = [[vote.scores for vote in group if vote.scores is not None] for group in votes_by_order]
    verdict = RankVerdict(
        id=str(index) if item.id is None else item.id,
        index=index,
        status="unscored",
        order=[],
        scores=[None] * len(item.candidates),
        votes=votes,
        valid_votes=sum(len(group) for group in valid),
    )

    # Each order needs its valid votes.
    for group, scores in zip(votes_by_order, valid, strict=True):
        if len(scores) < min(min_valid_votes, len(group)):
            kind, reason = explain_failure(group, min_valid_votes)
            failed = {"failure_kind": kind, "failure_reason": f"shown as {group[0].shown}: {reason}"}
            return verdict.model_copy(update=failed)

    # The mean of each order's mean.
    means = [_mean(scores) for scores in valid]
    overall = _mean(means)
    consistent = _best_first(means[0]) == _best_first(means[1]) if len(means) > 1 else None
    return verdict.model_copy(
        update={
            "status": "ok" if verdict.valid_votes == len(votes) else "partial",
            "order": _best_first(overall),
            "scores": overall,
            "position_consistent": consistent,
            "disagreement": _minority([_own_best(votes_of_one, len(valid)) for votes_of_one in _by_engine(votes)]),
        }
    )


def rank_judgments(index: int, item: RankItem, judgments: list[Judgment]) -> RankVerdict:
    """The ranking of one item by its candidates' own scores. `order` leaves out a candidate without a score."""
    scores = [judgment.score for judgment in judgments]
    unscored = [judgment for judgment in judgments if judgment.score is None]
    nothing = len(unscored) == len(judgments)
    clean = all(judgment.status == "ok" for judgment in judgments)
    return RankVerdict(
        id=str(index) if item.id is None else item.id,
        index=index,
        status="unscored" if nothing else "ok" if clean else "partial",
        order=_best_first(scores),
        scores=scores,
        judgments=judgments,
        valid_votes=sum(judgment.valid_votes for judgment in judgments),
        failure_kind=unscored[0].failure_kind if nothing else None,
        failure_reason=unscored[0].failure_reason if nothing else None,
    )


def explain_failure(votes: Sequence[Vote | ComparisonVote], min_valid_votes: int) -> tuple[VoteStatus, str]:
    """The most frequent failure, and a text: how many votes are valid, what the others are, and the remedy."""
    counts = Counter(vote.status for vote in votes if vote.status != "ok")
    kind = max(counts, key=lambda status: (counts[status], status))
    needed = min(min_valid_votes, len(votes))
    failures = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    first_reason = next((vote.reason for vote in votes if vote.status == kind and vote.reason), None)
    first = f" (first: {first_reason})" if first_reason else ""
    reason = f"{len(votes) - counts.total()} of {len(votes)} votes valid, {needed} needed ({failures}): {_REMEDY[kind]}"
    return kind, reason + first


def _scores(votes: Sequence[Vote], expected: bool) -> list[float]:
    """The numbers that count of votes with a score."""
    scores = [vote.expected if expected else vote.score for vote in votes]
    return [score for score in scores if score is not None]


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean of each column."""
    return [sum(column) / len(column) for column in zip(*rows, strict=True)]


def _deviation(scores: Sequence[float]) -> float:
    """The population standard deviation."""
    mean = sum(scores) / len(scores)
    return sqrt(sum((score - mean) ** 2 for score in scores) / len(scores))


def _agreement(values: Sequence[object]) -> float:
    """The share (0 to 1) of the values that equal the most frequent one."""
    return max(Counter(values).values()) / len(values)


def _most_frequent_winner(votes: Sequence[PairVote]) -> Side:
    first, *others = Counter(vote.winner for vote in votes).most_common(2)
    return "tie" if first[0] is None or (others and others[0][1] == first[1]) else first[0]


def _p_a(votes: Sequence[PairVote], soft: bool) -> float:
    """The mean probability that a wins: the judge's own where `soft`, else 1, 0 or one half for each vote."""
    share = {"a": 1.0, "b": 0.0, "tie": 0.5}
    probabilities = [vote.p_a if soft and vote.p_a is not None else share[vote.winner or "tie"] for vote in votes]
    return sum(probabilities) / len(probabilities)


def _best_first(scores: Sequence[float | None]) -> list[int]:
    """The indices of the scored candidates, best first, equal scores by index."""
    scored = [(-score, index) for index, score in enumerate(scores) if score is not None]
    return [index for _, index in sorted(scored)]


def _by_engine(votes: Sequence[AnyVote]) -> list[list[AnyVote]]:
    """The votes of each engine of a jury. Nothing for a judge that is alone."""
    groups: dict[str, list[AnyVote]] = {}
    for vote in votes:
        if vote.engine is not None:
            groups.setdefault(vote.engine, []).append(vote)
    return list(groups.values())


def _own_winner(votes: Sequence[PairVote], orders: Sequence[Order]) -> Side | None:
    """What one engine's valid votes alone decide. None where it has none in one of the orders."""
    cast = [[vote for vote in votes if vote.order == order] for order in orders]
    if not all(cast):
        return None
    first, *others = [_most_frequent_winner(votes_of_order) for votes_of_order in cast]
    return "tie" if any(other != first for other in others) else first


def _own_best(votes: Sequence[RankVote], orders: int) -> int | None:
    """The best candidate by one engine's votes alone. None where it has no valid ones in one of the orders shown."""
    by_order: dict[str, list[list[float]]] = {}
    for vote in votes:
        if vote.scores is not None:
            by_order.setdefault(vote.shown, []).append(vote.scores)
    if len(by_order) < orders:
        return None
    return _best_first(_mean([_mean(scores) for scores in by_order.values()]))[0]


def _minority(choices: Sequence[Side | int | None]) -> float | None:
    """The share (0 to 1) of the choices that are not the most frequent one. None with fewer than two choices."""
    made = [choice for choice in choices if choice is not None]
    return 1 - _agreement(made) if len(made) > 1 else None
