"""Comparison of a task's texts by the judge, two by two and in both orders."""

from collections.abc import Sequence
from itertools import combinations

from selfreward.client.judge import AsyncJudgeClient
from selfreward.contracts.base import content_key
from selfreward.contracts.comparisons import MetaItem, MetaRequest, PairItem, PairRequest, PairVote
from selfreward.contracts.rollouts import Match, Response, Rollout
from selfreward.loop import pairing
from selfreward.loop.pairing import distinct_votes, pairs_to_compare
from selfreward.loop.tasks import Compare, Task

_AT_ONCE = 32
"""Pairs of one request. More pairs with long judgments might exceed the request's deadline."""
Pair = tuple[int, int, str | None]
"""Places of two texts, and the principle of their comparison."""


async def compare_texts(judge: AsyncJudgeClient, task: Task, compare: Compare, responses: list[Response]) -> Rollout:
    """The task's rollout: its answers (and given votes) with a match for each order of every compared pair.

    Raises ServiceError as the client does.
    """
    pairs = _pairs(task, compare, responses)
    matches: list[Match] = []
    rubric, version = compare.rubric, task.policy
    for start in range(0, len(pairs), _AT_ONCE):
        part = pairs[start : start + _AT_ONCE]
        answer = await judge.decide(_request(task, compare, responses, part))
        rubric, version = answer.rubric, answer.judge_version
        for (a, b, principle), verdict in zip(part, answer.data, strict=True):
            matches += [as_match(a, b, vote, principle) for vote in verdict.votes]
    return task.rollout(
        responses,
        judgments=task.judgments,
        matches=matches,
        judge_version=version,
        rubric=rubric,
    )


def as_match(a: int, b: int, vote: PairVote, principle: str | None = None) -> Match:
    """The judge's vote on the texts at the places `a` and `b`, as a match in the order in which they were shown."""
    swapped = vote.order == "ba"
    outcome = {"a": 1, "b": -1}.get(vote.winner or "tie", 0) * (-1 if swapped else 1)
    return Match.model_validate(
        {
            "first": b if swapped else a,
            "second": a if swapped else b,
            "outcome": outcome,
            "status": vote.status,
            "p_first": None if vote.p_a is None else 1 - vote.p_a if swapped else vote.p_a,
            "principle": principle,
            "text": vote.text,
        }
    )


def _pairs(task: Task, compare: Compare, responses: Sequence[Response]) -> list[Pair]:
    if compare.of == "answers":
        return [(a, b, principle) for a, b in pairs_to_compare(responses) for principle in compare.principles]
    if compare.of == "neighbours":
        return [(a, b, None) for a, b in pairing.neighbours(responses)]
    return [(a, b, None) for a, b in combinations(distinct_votes(task.judgments[0].votes), 2)]


def _request(
    task: Task, compare: Compare, responses: Sequence[Response], pairs: Sequence[Pair]
) -> MetaRequest | PairRequest:
    sampling = compare.model_dump(exclude={"of", "annotator", "principles"})
    pinned = {"policy": task.policy} if compare.annotator == "policy" else {}
    shared = {**sampling, **pinned, "seed": task.seed}
    # Two answers to the prompt.
    if compare.of != "judgments":
        answers = [
            PairItem(
                id=content_key(a, b, principle),
                prompt=task.prompt,
                a=responses[a].text,
                b=responses[b].text,
                principle=principle,
            )
            for a, b, principle in pairs
        ]
        return PairRequest(items=answers, **shared)
    # Two votes on the only answer.
    votes = task.judgments[0].votes
    judgments = [
        MetaItem(
            id=f"{a}-{b}",
            prompt=task.prompt,
            response=responses[0].text,
            judgment_a=votes[a].text,
            judgment_b=votes[b].text,
        )
        for a, b, _ in pairs
    ]
    return MetaRequest(items=judgments, **shared)
