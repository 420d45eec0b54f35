"""Put questions to the engine: one request for each, all verdicts by one policy version, seeds that can be repeated."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from selfreward.client.http import ServiceError, WrongPolicyVersion
from selfreward.contracts.base import policy_number
from selfreward.contracts.judging import Usage
from services.judge.engine.engine import Answer, Choice, Engine
from services.judge.engine.slots import Lane
from services.judge.metrics import REJUDGED
from services.judge.verdicts.sampling import Sampling, another_seed

_VERSION_ROUNDS = 6
_ITEM_FAULTS = frozenset({400, 413, 422})


class EngineUnavailable(ServiceError):
    """The engine judged none of the items, for a reason that is not the items' own."""


class Cast(Protocol):
    """A vote of any kind."""

    @property
    def status(self) -> str:
        """What became of it; a `truncated` one is asked for again."""


Read = Callable[[int, Answer | ServiceError], None]
"""Given a question's index and what became of it; the last one counts."""
AnyVote = TypeVar("AnyVote", bound=Cast)


@dataclass(frozen=True)
class Question(Generic[AnyVote]):
    """One filled prompt, the vote that a completion of it casts, and the one that `failed(why)` stands for."""

    prompt: str
    read: Callable[[Choice], AnyVote]
    failed: Callable[[str], AnyVote]
    seed: int | None = None
    guide: str | None = None


@dataclass(frozen=True)
class Judged(Generic[AnyVote]):
    """The votes on each question, in order, all by policy version `version`."""

    votes: list[list[AnyVote]]
    version: str
    usage: Usage


async def judge_questions(
    engine: Engine, questions: Sequence[Question[AnyVote]], sampling: Sampling
) -> Judged[AnyVote]:
    """Sample `sampling.votes` verdicts on each question.

    A question whose engine request failed gets votes of status `error`. Raises WrongPolicyVersion when the pinned
    version is not served, or versions kept changing; EngineUnavailable when the engine failed for all.
    """
    lane = Lane()
    prompts = [question.prompt for question in questions]
    bodies = [sampling.body(question.seed, question.guide) for question in questions]
    votes: list[list[AnyVote]] = [[] for _ in questions]

    def read(index: int, outcome: Answer | ServiceError) -> None:
        votes[index] = _cast(questions[index], outcome, sampling.votes)

    outcomes, version = await _settle(engine, lane, prompts, bodies, sampling.policy, read)
    answers = [found for found in outcomes if isinstance(found, Answer)]
    if sampling.retry_max_tokens is not None and sampling.retry_max_tokens > sampling.max_tokens:
        answers += await _retry(engine, lane, questions, bodies, votes, version, sampling.retry_max_tokens)
    return Judged(votes, version, _usage(answers))


def _cast(question: Question[AnyVote], outcome: Answer | ServiceError, votes: int) -> list[AnyVote]:
    if isinstance(outcome, ServiceError):
        return [question.failed(str(outcome))] * votes
    cast = [question.read(choice) for choice in outcome.choices[:votes]]
    return cast + [question.failed("the engine returned too few choices")] * (votes - len(cast))


async def _retry(
    engine: Engine,
    lane: Lane,
    questions: Sequence[Question[AnyVote]],
    bodies: Sequence[dict[str, Any]],
    votes: Sequence[list[AnyVote]],
    version: str,
    most: int,
) -> list[Answer]:
    """Sample the truncated votes once more with a larger budget, and put the new ones in their places.

    Where that fails, or another version answers, the truncated votes stand: they say what is wrong themselves.
    """
    model = version if _age(version) >= 0 else None
    answers: list[Answer] = []

    async def one(index: int, places: Sequence[int]) -> None:
        body = bodies[index]
        larger = {**body, "n": len(places), "max_tokens": min(2 * body["max_tokens"], most)}
        if "seed" in body:
            larger["seed"] = another_seed(body["seed"], "retry")
        try:
            answer = await engine.ask(lane, questions[index].prompt, model, larger)
        except ServiceError:
            return
        if answer.version == version:
            answers.append(answer)
            for place, choice in zip(places, answer.choices, strict=False):
                votes[index][place] = questions[index].read(choice)

    async with asyncio.TaskGroup() as group:
        for index, cast in enumerate(votes):
            if places := [place for place, vote in enumerate(cast) if vote.status == "truncated"]:
                group.create_task(one(index, places))
    return answers


def _usage(answers: Iterable[Answer]) -> Usage:
    prompt, completion = 0, 0
    for answer in answers:
        prompt, completion = prompt + answer.prompt_tokens, completion + answer.completion_tokens
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


async def _settle(
    engine: Engine,
    lane: Lane,
    prompts: Sequence[str],
    bodies: Sequence[dict[str, Any]],
    policy: str | None,
    read: Read,
) -> tuple[list[Answer | ServiceError], str]:
    """An answer or failure for each prompt, each `read` when it comes, and the one version that gave all of them."""
    outcomes: dict[int, Answer | ServiceError] = {}
    wanted, model = list(range(len(prompts))), policy
    for attempt in range(_VERSION_ROUNDS):
        if attempt:
            REJUDGED.inc(len(wanted))
            await asyncio.sleep(0.1 * 2**attempt * random.random())  # noqa: S311 - guards no secret
        try:
            outcomes |= await _ask(engine, lane, prompts, bodies, model, wanted, read)
        except WrongPolicyVersion:
            if policy is not None:
                raise
            model = None  # the version that we settled on has been replaced meanwhile: ask for the newest again
            continue
        version = _version(outcomes.values(), policy)
        wanted = [index for index, found in outcomes.items() if isinstance(found, Answer) and found.version != version]
        if not wanted:
            return [outcomes[index] for index in sorted(outcomes)], version
        if policy is not None:
            break
        model = version if _age(version) >= 0 else None
    asked = f"the request pins {policy}" if policy else "the policy kept changing while it was judged"
    raise WrongPolicyVersion(f"{asked}, and the engine does not serve one version for all items: try again", 409)


async def _ask(
    engine: Engine,
    lane: Lane,
    prompts: Sequence[str],
    bodies: Sequence[dict[str, Any]],
    model: str | None,
    wanted: Iterable[int],
    read: Read,
) -> dict[int, Answer | ServiceError]:
    outcomes: dict[int, Answer | ServiceError] = {}

    async def one(index: int) -> None:
        try:
            outcomes[index] = await engine.ask(lane, prompts[index], model, bodies[index])
        except WrongPolicyVersion:
            raise
        except ServiceError as error:
            outcomes[index] = error
        # Now, not after the last answer: the engine computes on meanwhile.
        read(index, outcomes[index])

    try:
        async with asyncio.TaskGroup() as group:
            for index in wanted:
                group.create_task(one(index))
    except* WrongPolicyVersion as found:
        wrong = found
    else:
        return outcomes
    raise WrongPolicyVersion(str(_first(wrong)), 409)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _version(outcomes: Iterable[Answer | ServiceError], pinned: str | None) -> str:
    """The version that all items shall be judged by: the newest seen, which a swap does not take back."""
    outcomes = list(outcomes)
    versions = Counter(found.version for found in outcomes if isinstance(found, Answer))
    if versions:
        return pinned or max(versions, key=lambda label: (_age(label), versions[label], label))
    failures = [found for found in outcomes if isinstance(found, ServiceError)]
    for failure in failures:
        if failure.status not in _ITEM_FAULTS:
            raise EngineUnavailable(f"the judging engine answered none of the items: {failure}", failure.status)
    return pinned or "unknown"


def _age(label: str) -> int:
    """The policy's number; -1 for a model that has none."""
    try:
        return policy_number(label)
    except ValueError:
        return -1
