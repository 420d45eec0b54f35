"""Have all prompts of a request answered by one policy version, also while the engine swaps its weights.

Where a swap comes in between, the prompts that the older version answered are asked again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from selfreward.backoff import backoff
from selfreward.client.http import ServiceError, WrongPolicyVersion
from selfreward.contracts.base import is_policy_version, policy_number
from services.judge.engine.engine import Engine, EngineRefused, EngineUnavailable
from services.judge.engine.faults import is_items_own, setting_to_mend
from services.judge.engine.reply import EngineReply
from services.judge.engine.slots import Lane
from services.judge.metrics import REJUDGED

Outcome = EngineReply | ServiceError
"""What became of one prompt."""
_VERSION_ROUNDS = 6
_LONGEST_WAIT_SECONDS = 3.2


async def ask_one_version(
    engine: Engine,
    lane: Lane,
    prompts: Sequence[str],
    bodies: Sequence[dict[str, Any]],
    policy: str | None,
    on_outcome: Callable[[int, Outcome], None],
) -> tuple[list[Outcome], str]:
    """The outcome of every prompt, in order, and the one version that gave all replies. `policy` pins it.

    Calls `on_outcome` with a prompt's index as soon as its outcome is there; the last call for an index counts. Raises
    WrongPolicyVersion when the pinned version is not served, or versions kept changing; EngineUnavailable when the
    engine failed for all prompts, or EngineRefused if it will until the judge's settings are mended.
    """
    outcomes: dict[int, Outcome] = {}
    pending, model, waits = list(range(len(prompts))), policy, backoff(0.2, _LONGEST_WAIT_SECONDS)
    for attempt in range(_VERSION_ROUNDS):
        if attempt:
            REJUDGED.inc(len(pending))
            await asyncio.sleep(next(waits))

        # Ask for the outcomes that are missing.
        try:
            outcomes |= await _ask(engine, lane, prompts, bodies, model, pending, on_outcome)
        except WrongPolicyVersion:
            if policy is not None:
                raise
            model = None  # the version of the round before has been replaced: ask for the newest again
            continue

        # Ask again what another version than the newest one answered.
        version = _newest_version(outcomes.values(), policy)
        pending = [
            index
            for index, outcome in outcomes.items()
            if isinstance(outcome, EngineReply) and not outcome.is_failed and outcome.version != version
        ]
        if not pending:
            return [outcomes[index] for index in sorted(outcomes)], version
        if policy is not None:
            break
        model = version if is_policy_version(version) else None
    problem = f"the request pins {policy}" if policy else "the policy kept changing while it was judged"
    raise WrongPolicyVersion(f"{problem}, and the engine does not serve one version for all items: try again", 409)


async def _ask(
    engine: Engine,
    lane: Lane,
    prompts: Sequence[str],
    bodies: Sequence[dict[str, Any]],
    model: str | None,
    indices: Iterable[int],
    on_outcome: Callable[[int, Outcome], None],
) -> dict[int, Outcome]:
    """The outcome of each of the prompts at `indices`, asked concurrently. Raises WrongPolicyVersion."""
    outcomes: dict[int, Outcome] = {}

    async def ask(index: int) -> None:
        try:
            outcomes[index] = await engine.ask(lane, prompts[index], model, bodies[index])
        except WrongPolicyVersion:
            raise
        except ServiceError as error:
            outcomes[index] = error
        # Now, and not after the last reply: the engine computes the others meanwhile.
        on_outcome(index, outcomes[index])

    try:
        async with asyncio.TaskGroup() as group:
            for index in indices:
                group.create_task(ask(index))
    except* WrongPolicyVersion as errors:
        wrong = errors
    else:
        return outcomes
    raise WrongPolicyVersion(str(_first(wrong)), 409)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _newest_version(outcomes: Iterable[Outcome], pinned: str | None) -> str:
    """The version that shall answer all prompts: the pinned one, else the newest of the replies.

    Raises EngineRefused or EngineUnavailable when there is no reply, for a reason that is not the items' own.
    """
    outcomes = list(outcomes)
    replies = [outcome for outcome in outcomes if isinstance(outcome, EngineReply)]
    versions = Counter(reply.version for reply in replies if not reply.is_failed)
    if versions:
        return pinned or max(versions, key=lambda label: (_number(label), versions[label], label))
    if replies:
        return pinned or "unknown"
    errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError) and not is_items_own(outcome)]
    for error in errors:
        if mend := setting_to_mend(error.status, error.body or str(error)):
            raise EngineRefused(f"{mend}: {error}", error.status)
    for error in errors:
        raise EngineUnavailable(f"the judging engine answered none of the items: {error}", error.status)
    return pinned or "unknown"


def _number(label: str) -> int:
    """The number of a policy version; -1 for a model that has none."""
    return policy_number(label) if is_policy_version(label) else -1
