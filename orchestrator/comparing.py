"""Have the judge compare the judgments that a task holds, two by two and in both orders."""

from itertools import combinations

from orchestrator.methods.meta_rewarding import distinct
from orchestrator.tasks import Task
from selfreward.contracts import Match, Rollout
from selfreward.judge_client import AsyncJudgeClient
from selfreward.verdicts import MetaItem, MetaRequest, PairVote

_AT_ONCE = 32
"""Pairs in one request: long judgments of many pairs would not be compared within its deadline."""


async def compare_votes(judge: AsyncJudgeClient, task: Task) -> Rollout:
    """The task's answer and its votes, and a match for each order of every two distinct ones among them.

    Raises ServiceError as the client does, and ValueError for a task that compares nothing.
    """
    if task.compare is None:
        raise ValueError(f"task {task.key} asks for no comparison")
    (response,), (judgment,) = task.responses, task.judgments
    places = list(combinations(distinct(judgment.votes), 2))
    matches: list[Match] = []
    rubric = task.compare.rubric
    for start in range(0, len(places), _AT_ONCE):
        chunk = places[start : start + _AT_ONCE]
        items = [
            MetaItem(
                id=f"{a}-{b}",
                prompt=task.prompt,
                response=response.text,
                judgement_a=judgment.votes[a].text,
                judgement_b=judgment.votes[b].text,
            )
            for a, b in chunk
        ]
        asked = MetaRequest(items=items, policy=task.policy, seed=task.seed, **task.compare.model_dump())
        answer = await judge.decide(asked)
        rubric = answer.rubric
        for pair, verdict in zip(chunk, answer.data, strict=True):
            matches += [as_match(*pair, vote) for vote in verdict.votes]
    return Rollout(
        key=task.key,
        run=task.run,
        stage=task.stage,
        prompt_id=task.prompt_id,
        prompt=task.prompt,
        policy_version=task.policy,
        responses=task.responses,
        judgments=task.judgments,
        matches=matches,
        judge_version=task.policy,
        rubric=rubric,
    )


def as_match(a: int, b: int, vote: PairVote) -> Match:
    """The judge's vote on the texts at the places `a` and `b`, told by the order in which they were shown."""
    swapped = vote.order == "ba"
    outcome = {"a": 1, "b": -1}.get(vote.winner or "tie", 0) * (-1 if swapped else 1)
    return Match.model_validate(
        {
            "first": b if swapped else a,
            "second": a if swapped else b,
            "outcome": outcome,
            "status": vote.status,
            "p_first": None if vote.p_a is None else 1 - vote.p_a if swapped else vote.p_a,
            "text": vote.text,
        }
    )
