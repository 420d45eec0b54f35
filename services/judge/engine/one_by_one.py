"""Ask for votes one by one, where the engine gives one choice for each request. Prefix caching keeps that cheap."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from selfreward.client.http import ServiceError, WrongPolicyVersion
from services.judge.engine.faults import Fault, fault_of
from services.judge.engine.reply import Completion, EngineReply, failed_completion

_MOST_SEED = 2**31


async def ask_one_by_one(
    ask: Callable[[Mapping[str, Any]], Awaitable[EngineReply]],
    body: Mapping[str, Any],
    votes: int,
    first: EngineReply | None = None,
) -> EngineReply:
    """The reply of as many votes, each by a request and with a seed of its own. `first` is the reply of the first vote.

    A vote whose request failed has a fault. Raises ServiceError when all failed, and WrongPolicyVersion when several
    versions answered.
    """

    async def ask_for(position: int) -> EngineReply | ServiceError:
        seed = {"seed": (body["seed"] + position) % _MOST_SEED} if "seed" in body else {}
        try:
            return await ask({**body, **seed})
        except ServiceError as error:
            return error

    start = 0 if first is None else 1
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask_for(position)) for position in range(start, votes)]
    return _join([*([first] if first else []), *(task.result() for task in tasks)])


def _join(outcomes: Sequence[EngineReply | ServiceError]) -> EngineReply:
    errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    replies = [outcome for outcome in outcomes if isinstance(outcome, EngineReply)]
    for error in errors:
        if not replies or isinstance(error, WrongPolicyVersion):
            raise error
    versions = {reply.version for reply in replies if not reply.is_failed} or {replies[0].version}
    if len(versions) > 1:
        raise WrongPolicyVersion(f"the engine served {' and '.join(sorted(versions))} for one item: try again", 409)
    return EngineReply(
        [_vote(outcome) for outcome in outcomes],
        versions.pop(),
        sum(reply.prompt_tokens for reply in replies),
        sum(reply.completion_tokens for reply in replies),
    )


def _vote(outcome: EngineReply | ServiceError) -> Completion:
    if isinstance(outcome, ServiceError):
        return failed_completion(fault_of(outcome.status, str(outcome), outcome.body))
    if not outcome.completions:
        return failed_completion(Fault("error", "the engine returned no choice"))
    return outcome.completions[0]
