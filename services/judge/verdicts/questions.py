"""Put questions to the engine: one request for each question, and all its votes by one policy version.

A truncated vote is sampled once more with a larger token budget. Then the engine writes the verdicts that are missing.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, cast

from selfreward.client.http import ServiceError
from selfreward.contracts.base import is_policy_version
from selfreward.contracts.judging import Usage
from services.judge.engine.engine import Engine
from services.judge.engine.faults import fault_of
from services.judge.engine.reply import EngineReply
from services.judge.engine.slots import Lane
from services.judge.verdicts.constrained import constrain_verdicts
from services.judge.verdicts.one_version import Outcome, ask_one_version
from services.judge.verdicts.question import AnyVote, Question
from services.judge.verdicts.sampling import VoteSampling, derive_seed


@dataclass(frozen=True)
class QuestionVotes(Generic[AnyVote]):
    """The votes on each question, in order, all by policy version `version`."""

    votes: list[list[AnyVote]]
    version: str
    usage: Usage


async def judge_questions(
    engine: Engine, questions: Sequence[Question[AnyVote]], sampling: VoteSampling
) -> QuestionVotes[AnyVote]:
    """Sample `sampling.votes` votes on each question, or give it as many of status `nothing_to_judge`.

    A question whose engine request failed gets votes that say so (`error`, `too_long`, `refused`). Raises
    WrongPolicyVersion when the pinned version is not served, or versions kept changing; EngineUnavailable or
    EngineRefused when the engine failed for all questions.
    """
    asked = [question for question in questions if question.nothing is None]
    if len(asked) < len(questions):
        judged = await judge_questions(engine, asked, sampling)
        cast = iter(judged.votes)
        all_votes = [
            next(cast) if question.nothing is None else [_unasked(question, question.nothing)] * sampling.votes
            for question in questions
        ]
        return replace(judged, votes=all_votes)
    lane = Lane()
    prompts = [question.prompt for question in questions]
    bodies = [sampling.body(question.seed) for question in questions]
    votes: list[list[AnyVote]] = [[] for _ in questions]

    def read_outcome(index: int, outcome: Outcome) -> None:
        votes[index] = _read_votes(questions[index], outcome, sampling.votes)

    outcomes, version = await ask_one_version(engine, lane, prompts, bodies, sampling.policy, read_outcome)
    replies = [outcome for outcome in outcomes if isinstance(outcome, EngineReply)]
    if sampling.retry_max_tokens is not None and sampling.retry_max_tokens > sampling.max_tokens:
        replies += await _retry_truncated(engine, lane, questions, bodies, votes, version, sampling.retry_max_tokens)
    replies += await constrain_verdicts(engine, lane, questions, bodies, votes, version)
    return QuestionVotes(votes, version, _sum_usage(replies))


def unanswered(questions: Sequence[Question[AnyVote]], why: str, count: int) -> QuestionVotes[AnyVote]:
    """`count` votes of status `error` on each question, by no version. `nothing_to_judge` stays what it is."""
    votes = [
        [question.error_vote(why) if question.nothing is None else _unasked(question, question.nothing)] * count
        for question in questions
    ]
    return QuestionVotes(votes, "unknown", Usage())


def _unasked(question: Question[AnyVote], nothing: str) -> AnyVote:
    vote = question.error_vote(nothing)
    return cast(AnyVote, vote.model_copy(update={"status": "nothing_to_judge", "text": ""}))


def _read_votes(question: Question[AnyVote], outcome: Outcome, count: int) -> list[AnyVote]:
    if isinstance(outcome, ServiceError):
        return [question.vote_for_fault(fault_of(outcome.status, str(outcome), outcome.body))] * count
    votes = [question.vote(completion) for completion in outcome.completions[:count]]
    return votes + [question.error_vote("the engine returned too few choices")] * (count - len(votes))


async def _retry_truncated(
    engine: Engine,
    lane: Lane,
    questions: Sequence[Question[AnyVote]],
    bodies: Sequence[dict[str, Any]],
    votes: Sequence[list[AnyVote]],
    version: str,
    retry_max_tokens: int,
) -> list[EngineReply]:
    """Sample the truncated votes once more with twice the tokens, and replace them in `votes`.

    Where that fails, or another version answers, the truncated votes stay: they say themselves what is wrong.
    """
    # Ask the version that gave the other votes.
    model = version if is_policy_version(version) else None
    replies: list[EngineReply] = []

    async def retry(index: int, truncated: Sequence[int]) -> None:
        body = bodies[index]
        larger = {**body, "n": len(truncated), "max_tokens": min(2 * body["max_tokens"], retry_max_tokens)}
        if "seed" in body:
            larger["seed"] = derive_seed(body["seed"], "retry")
        try:
            reply = await engine.ask(lane, questions[index].prompt, model, larger)
        except ServiceError:
            return
        if reply.version == version:
            replies.append(reply)
            for position, completion in zip(truncated, reply.completions, strict=False):
                votes[index][position] = questions[index].vote(completion)

    # Retry all questions with truncated votes concurrently.
    async with asyncio.TaskGroup() as group:
        for index, cast in enumerate(votes):
            if truncated := [position for position, vote in enumerate(cast) if vote.status == "truncated"]:
                group.create_task(retry(index, truncated))
    return replies


def _sum_usage(replies: Iterable[EngineReply]) -> Usage:
    prompt, completion = 0, 0
    for reply in replies:
        prompt, completion = prompt + reply.prompt_tokens, completion + reply.completion_tokens
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
