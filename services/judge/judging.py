"""Judge a batch: one engine request for each item, all verdicts by one policy version, seeds that can be repeated."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.announcements import policy_number
from selfreward.contracts import JudgeItem, JudgeRequest, JudgeResponse, Judgment, Usage, Vote, content_key
from selfreward.http import ServiceError, WrongPolicyVersion
from services.judge.aggregate import aggregate
from services.judge.engine import Answer, Engine
from services.judge.fair import Lane
from services.judge.metrics import REJUDGED
from services.judge.parse import parse_vote
from services.judge.rubric import Rubric

_VERSION_ROUNDS = 6
_ITEM_FAULTS = frozenset({400, 413, 422})


class EngineUnavailable(ServiceError):
    """The engine judged none of the items, for a reason that is not the items' own."""


async def judge_batch(engine: Engine, rubric: Rubric, request: JudgeRequest, answer_id: str) -> JudgeResponse:
    """Judge every item of a request.

    An item whose engine request failed gets votes of status `error`. Raises WrongPolicyVersion when the pinned version
    is not served, or versions kept changing; EngineUnavailable when the engine failed for all.
    """
    prompts = [rubric.prompt(item) for item in request.items]
    sampling = _sampling(rubric, request)
    lane = Lane()
    outcomes: dict[int, Answer | ServiceError] = {}
    wanted, model = list(range(len(prompts))), request.policy
    for attempt in range(_VERSION_ROUNDS):
        if attempt:
            REJUDGED.inc(len(wanted))
            await asyncio.sleep(0.1 * 2**attempt * random.random())  # noqa: S311
        try:
            outcomes |= await _ask(engine, lane, prompts, sampling, model, wanted)
        except WrongPolicyVersion:
            if request.policy is not None:
                raise
            model = None  # the version that we settled on has been replaced meanwhile: ask for the newest again
            continue
        version = _version(outcomes.values(), request.policy)
        wanted = [index for index, found in outcomes.items() if isinstance(found, Answer) and found.version != version]
        if not wanted:
            return _response(rubric, request, answer_id, [outcomes[index] for index in sorted(outcomes)], version)
        if request.policy is not None:
            break
        model = version if _age(version) >= 0 else None
    asked = f"the request pins {request.policy}" if request.policy else "the policy kept changing while it was judged"
    raise WrongPolicyVersion(f"{asked}, and the engine does not serve one version for all items: try again", 409)


async def _ask(
    engine: Engine,
    lane: Lane,
    prompts: Sequence[str],
    sampling: Sequence[dict[str, Any]],
    model: str | None,
    wanted: Iterable[int],
) -> dict[int, Answer | ServiceError]:
    outcomes: dict[int, Answer | ServiceError] = {}

    async def one(index: int) -> None:
        try:
            outcomes[index] = await engine.ask(lane, prompts[index], model, sampling[index])
        except WrongPolicyVersion:
            raise
        except ServiceError as error:
            outcomes[index] = error

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


def _sampling(rubric: Rubric, request: JudgeRequest) -> list[dict[str, Any]]:
    """Sampling fields of each item's engine request; the rubric's own where the request leaves them out."""
    default = rubric.spec.sampling
    shared = {
        "n": request.votes,
        "temperature": default.temperature if request.temperature is None else request.temperature,
        "top_p": default.top_p if request.top_p is None else request.top_p,
        "max_tokens": default.max_tokens if request.max_tokens is None else request.max_tokens,
    }
    if request.seed is None:
        return [shared] * len(request.items)
    return [{**shared, "seed": seed} for seed in item_seeds(request.seed, request.items)]


def item_seeds(seed: int, items: Sequence[JudgeItem]) -> list[int]:
    """A 31-bit seed for each item, from the request's seed and the item's id (its position where it has none).

    An item keeps its seed wherever it stands in a batch; items that share an id still get different ones.
    """
    seen: Counter[str | int] = Counter()
    seeds = []
    for index, item in enumerate(items):
        name = index if item.id is None else item.id
        seeds.append(int(content_key(seed, name, seen[name])[:8], 16) >> 1)
        seen[name] += 1
    return seeds


def _response(
    rubric: Rubric, request: JudgeRequest, answer_id: str, outcomes: Sequence[Answer | ServiceError], version: str
) -> JudgeResponse:
    answers = [found for found in outcomes if isinstance(found, Answer)]
    prompt_tokens = sum(answer.prompt_tokens for answer in answers)
    completion_tokens = sum(answer.completion_tokens for answer in answers)
    return JudgeResponse(
        id=answer_id,
        rubric=rubric.id,
        judge_version=version,
        data=[
            _judgment(rubric, index, item, outcome, request.votes)
            for index, (item, outcome) in enumerate(zip(request.items, outcomes, strict=True))
        ],
        usage=Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            total_tokens=prompt_tokens + completion_tokens,
        ),
    )


def _judgment(rubric: Rubric, index: int, item: JudgeItem, outcome: Answer | ServiceError, votes: int) -> Judgment:
    if isinstance(outcome, ServiceError):
        cast = [Vote(status="error", text=str(outcome))] * votes
    else:
        cast = [parse_vote(text, reason, rubric.verdict, refusal) for text, reason, refusal in outcome.choices]
        cast += [Vote(status="error", text="the engine returned too few choices")] * (votes - len(cast))
    return aggregate(index, item.id, cast, rubric.spec.min_valid_votes)
