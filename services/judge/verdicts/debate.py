"""Debates: two copies of the judge argue for one response each, and the judge decides on what they said (Irving et al.
2018, 1805.00899).

There is one debate for each order in which a pair is shown, and all votes on that order read it. In a round both sides
speak at once, so that neither has the last word. What they say is text of a model, so it is made as harmless as the
responses themselves before anybody reads it.
"""

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from selfreward.client.http import WrongPolicyVersion
from selfreward.contracts.base import is_policy_version
from selfreward.contracts.comparisons import Argument, ArgumentStatus, Order, PairRequest, PairResponse
from selfreward.contracts.judging import Usage
from services.judge.engine.engine import Choice, Engine
from services.judge.metrics import REJUDGED
from services.judge.reading.read import BROKEN_OFF
from services.judge.rubrics.neutralise import neutralise
from services.judge.rubrics.rubric import Debate, Rubric
from services.judge.verdicts.pairs import Look, compare, looks, shown_pair
from services.judge.verdicts.questions import Question, judge_questions
from services.judge.verdicts.sampling import Sampling, another_seed, sampling_of

_ATTEMPTS = 4
_SIDES: dict[Order, tuple[Literal["a", "b"], Literal["a", "b"]]] = {"ab": ("a", "b"), "ba": ("b", "a")}
"""The item's sides that are shown as A and B."""
_NOTHING_YET = "Nothing has been said yet."


class _Debates(NamedTuple):
    """What was said about each look; by which version, None when nothing was."""

    said: list[list[Argument]]
    version: str | None
    usage: Usage


def requests_of(rubric: Rubric) -> int:
    """Engine requests for one look at one item: its verdicts, and before them the arguments of a debate."""
    return 1 + (2 * rubric.debate.spec.rounds if rubric.debate else 0)


async def compare_by_debate(
    engine: Engine, rubric: Rubric, debate: Debate, request: PairRequest, answer_id: str
) -> PairResponse:
    """Debate and judge every pair, all of it by one policy version: where that is replaced, anew by the next.

    Raises WrongPolicyVersion when the pinned version is not served, or versions kept changing; EngineUnavailable when
    the engine failed for all items.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            REJUDGED.inc(len(request.items))
            await asyncio.sleep(0.1 * 2**attempt * random.random())  # noqa: S311 - guards no secret
        try:
            return await _debated(engine, rubric, debate, request, answer_id)
        except WrongPolicyVersion:
            if request.policy is not None:
                raise
    raise WrongPolicyVersion("the policy kept changing while it debated: try again", 409)


async def _debated(
    engine: Engine, rubric: Rubric, debate: Debate, request: PairRequest, answer_id: str
) -> PairResponse:
    shown = looks(request, request.items)
    values = [shown_pair(request.items[look.item], look.order) for look in shown]
    sampling = sampling_of(rubric.spec, request)
    debates = await _hold(engine, debate, shown, values, sampling)
    prompts = [
        rubric.template.fill_with(pair, transcript=transcript(said, rubric.template.guard))
        for pair, said in zip(values, debates.said, strict=True)
    ]
    pinned = request.model_copy(update={"policy": _pin(sampling, debates.version).policy})
    answer = await compare(engine, rubric, pinned, request.items, prompts, [None] * len(request.items), answer_id)
    _one_version(debates.version, answer.judge_version, (vote.status for one in answer.data for vote in one.votes))
    said_of: list[list[Argument]] = [[] for _ in request.items]
    for look, said in zip(shown, debates.said, strict=True):
        said_of[look.item] += said
    data = [one.model_copy(update={"debate": said}) for one, said in zip(answer.data, said_of, strict=True)]
    return answer.model_copy(update={"data": data, "usage": _sum([debates.usage, answer.usage])})


async def _hold(
    engine: Engine, debate: Debate, shown: Sequence[Look], values: Sequence[Mapping[str, str]], sampling: Sampling
) -> _Debates:
    spec, argue = debate.spec, debate.argue
    said: list[list[Argument]] = [[] for _ in shown]
    version: str | None = None
    usages = []
    once = replace(sampling, votes=1, max_tokens=spec.argument_tokens, retry_max_tokens=None, logprobs=0)
    for number in range(1, spec.rounds + 1):
        questions = [
            Question(
                argue.fill_with({**pair, "side": place}, transcript=transcript(before, argue.guard)),
                _reader(look.order, number, side),
                _failer(look.order, number, side),
                None if look.seed is None else another_seed(look.seed, "argument", number, place),
            )
            for look, pair, before in zip(shown, values, said, strict=True)
            for place, side in zip("AB", _SIDES[look.order], strict=True)
        ]
        judged = await judge_questions(engine, questions, _pin(once, version))
        arguments = [argument for votes in judged.votes for argument in votes]
        version = _one_version(version, judged.version, (argument.status for argument in arguments))
        for place, argument in enumerate(arguments):
            said[place // 2].append(argument)
        usages.append(judged.usage)
    return _Debates(said, version, _sum(usages))


def transcript(said: Sequence[Argument], guard: re.Pattern[str]) -> str:
    """The arguments in tags that name side and round, which none of them can close or open.

    The tag says where an argument was cut off, and where there is none.
    """
    parts = []
    for argument in said:
        place = "A" if argument.side == argument.order[0] else "B"
        used = argument.status in ("ok", "truncated")
        how = ", cut off at its limit" if argument.status == "truncated" else "" if used else ", not made"
        text = neutralise(argument.text.strip(), guard) if used else ""
        parts.append(f"<argument for {place}, round {argument.round}{how}>\n{text}\n</argument>")
    return "\n\n".join(parts) or _NOTHING_YET


def _reader(order: Order, number: int, side: Literal["a", "b"]) -> Callable[[Choice], Argument]:
    def made(choice: Choice) -> Argument:
        status, reason = _became(choice)
        text = choice.text or choice.refusal or ""
        return Argument(order=order, round=number, side=side, status=status, text=text, reason=reason)

    return made


def _became(choice: Choice) -> tuple[ArgumentStatus, str | None]:
    if choice.finish_reason in BROKEN_OFF:
        return "error", f"the engine broke off: finish_reason is {choice.finish_reason!r}"
    if choice.refusal or choice.finish_reason == "content_filter":
        return "refused", "the engine reports a refusal"
    if not choice.text.strip():
        return "empty", "the debater wrote nothing"
    if choice.finish_reason == "length":
        return "truncated", "the limit of debate.argument_tokens was reached"
    return "ok", None


def _failer(order: Order, number: int, side: Literal["a", "b"]) -> Callable[[str], Argument]:
    return lambda why: Argument(order=order, round=number, side=side, status="error", reason=why)


def _pin(sampling: Sampling, version: str | None) -> Sampling:
    """Ask for the version that spoke before, where it can be asked for by its name."""
    return replace(sampling, policy=version) if version is not None and is_policy_version(version) else sampling


def _one_version(before: str | None, now: str, statuses: Iterable[str]) -> str | None:
    """The version that gave everything so far. Where nobody answered, none did. Raises WrongPolicyVersion."""
    if all(status == "error" for status in statuses):
        return before
    if before not in (None, now):
        raise WrongPolicyVersion(f"the engine served {before} and then {now} in one debate: try again", 409)
    return now


def _sum(usages: Sequence[Usage]) -> Usage:
    prompt = sum(usage.prompt_tokens for usage in usages)
    completion = sum(usage.completion_tokens for usage in usages)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
