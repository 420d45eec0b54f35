"""Debates: two copies of the judge argue for one response each, and then the judge decides (Irving et al. 2018,
1805.00899).

Each order of a pair has its own debate, which all votes on that order read. Both sides of a round speak at the same
time, so that neither has the last word. An argument is text of a model, so it is fenced as the responses are.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from selfreward.backoff import backoff
from selfreward.client.http import WrongPolicyVersion
from selfreward.contracts.base import is_policy_version
from selfreward.contracts.comparisons import Argument, ArgumentStatus, Order, PairRequest, PairResponse
from selfreward.contracts.judging import Usage
from services.judge.engine.engine import Engine
from services.judge.engine.reply import Completion
from services.judge.metrics import REJUDGED
from services.judge.reading.read import BROKEN_OFF
from services.judge.rubrics.rubric import Debate, Rubric
from services.judge.rubrics.template import Part, Value
from services.judge.verdicts.filling import fill_prompts
from services.judge.verdicts.jury import Jury
from services.judge.verdicts.orders import Presentation, presentations, response_texts
from services.judge.verdicts.pairs import compare
from services.judge.verdicts.question import Question
from services.judge.verdicts.questions import judge_questions
from services.judge.verdicts.sampling import VoteSampling, derive_seed, sampling_of

_ATTEMPTS = 4
_LONGEST_WAIT_SECONDS = 0.8
_SIDES: dict[Order, tuple[Literal["a", "b"], Literal["a", "b"]]] = {"ab": ("a", "b"), "ba": ("b", "a")}
"""The item's sides at the positions A and B."""
_NO_ARGUMENTS = "Nothing has been said yet."


class _Debates(NamedTuple):
    """The arguments of each presentation, and the version that wrote them; None when it wrote none."""

    arguments: list[list[Argument]]
    version: str | None
    usage: Usage


def requests_of(rubric: Rubric) -> int:
    """Engine requests for one item in one order: one for its votes, and one for each argument of a debate."""
    return 1 + (2 * rubric.debate.spec.rounds if rubric.debate else 0)


async def compare_by_debate(
    engine: Engine, rubric: Rubric, debate: Debate, request: PairRequest, answer_id: str
) -> PairResponse:
    """Debate and judge every pair, all by one policy version. Starts again when that version is replaced.

    Raises WrongPolicyVersion when the pinned version is not served, or versions kept changing; EngineUnavailable or
    EngineRefused when the engine failed for all items.
    """
    waits = backoff(0.2, _LONGEST_WAIT_SECONDS)
    for attempt in range(_ATTEMPTS):
        if attempt:
            REJUDGED.inc(len(request.items))
            await asyncio.sleep(next(waits))
        try:
            return await _debate_and_judge(engine, rubric, debate, request, answer_id)
        except WrongPolicyVersion:
            if request.policy is not None:
                raise
    raise WrongPolicyVersion("the policy kept changing while it debated: try again", 409)


async def _debate_and_judge(
    engine: Engine, rubric: Rubric, debate: Debate, request: PairRequest, answer_id: str
) -> PairResponse:
    # Debate every presentation.
    presented = presentations(request, request.items)
    texts = [response_texts(request.items[presentation.item], presentation.order) for presentation in presented]
    sampling = sampling_of(rubric.spec, request)
    debates = await _hold_debates(engine, debate, presented, texts, sampling)

    # Judge the pairs by the version that debated.
    values = [
        {**each, "debate": transcript(arguments)} for each, arguments in zip(texts, debates.arguments, strict=True)
    ]
    pinned = request.model_copy(update={"policy": _pin(sampling, debates.version).policy})
    jury, principles = Jury({None: engine}), [None] * len(request.items)
    response = await compare(jury, rubric, pinned, request.items, values, principles, answer_id)
    statuses = (vote.status for verdict in response.data for vote in verdict.votes)
    _check_version(debates.version, response.judge_version, statuses)

    # Add each item's arguments to its verdict.
    arguments_of: list[list[Argument]] = [[] for _ in request.items]
    for presentation, arguments in zip(presented, debates.arguments, strict=True):
        arguments_of[presentation.item] += arguments
    data = [
        verdict.model_copy(update={"debate": arguments})
        for verdict, arguments in zip(response.data, arguments_of, strict=True)
    ]
    return response.model_copy(update={"data": data, "usage": _sum_usage([debates.usage, response.usage])})


async def _hold_debates(
    engine: Engine,
    debate: Debate,
    presented: Sequence[Presentation],
    texts: Sequence[Mapping[str, Value]],
    sampling: VoteSampling,
) -> _Debates:
    # An argument is one vote of its own length.
    spec, argue = debate.spec, debate.argue
    arguments: list[list[Argument]] = [[] for _ in presented]
    version: str | None = None
    usages = []
    one_argument = replace(sampling, votes=1, max_tokens=spec.argument_tokens, retry_max_tokens=None, logprobs=0)
    for round_number in range(1, spec.rounds + 1):
        # Ask both sides of every presentation, with the arguments of the rounds before.
        values = [
            {**each, "side": position, "debate": transcript(before)}
            for each, before in zip(texts, arguments, strict=True)
            for position in "AB"
        ]
        prompts = iter(await fill_prompts(argue, values, engine.tokens))
        questions = [
            Question(
                next(prompts),
                _argument_reader(presentation.order, round_number, side),
                _error_argument(presentation.order, round_number, side),
                None
                if presentation.seed is None
                else derive_seed(presentation.seed, "argument", round_number, position),
            )
            for presentation in presented
            for position, side in zip("AB", _SIDES[presentation.order], strict=True)
        ]
        judged = await judge_questions(engine, questions, _pin(one_argument, version))

        # Add the answers, two for each presentation.
        spoken = [argument for votes in judged.votes for argument in votes]
        version = _check_version(version, judged.version, (argument.status for argument in spoken))
        for index, argument in enumerate(spoken):
            arguments[index // 2].append(argument)
        usages.append(judged.usage)
    return _Debates(arguments, version, _sum_usage(usages))


def transcript(arguments: Sequence[Argument]) -> Value:
    """The arguments, labelled with position and round, and with where one was cut off or was not made."""
    parts = []
    for argument in arguments:
        position = "A" if argument.side == argument.order[0] else "B"
        used = argument.status in ("ok", "truncated")
        note = ", cut off at its limit" if argument.status == "truncated" else "" if used else ", not made"
        text = argument.text.strip() if used else ""
        parts.append(Part(f"for {position}, round {argument.round}{note}", text))
    return parts or _NO_ARGUMENTS


def _argument_reader(order: Order, round_number: int, side: Literal["a", "b"]) -> Callable[[Completion], Argument]:
    def read_argument(completion: Completion) -> Argument:
        status, reason = _status(completion)
        text = completion.text or completion.refusal or ""
        return Argument(order=order, round=round_number, side=side, status=status, text=text, reason=reason)

    return read_argument


def _status(completion: Completion) -> tuple[ArgumentStatus, str | None]:
    """The status of an argument, and what is wrong with one that is not ok."""
    if completion.finish_reason in BROKEN_OFF:
        return "error", f"the engine broke off: finish_reason is {completion.finish_reason!r}"
    if completion.refusal or completion.finish_reason == "content_filter":
        return "refused", "the engine reports a refusal"
    if not completion.text.strip():
        return "empty", "the debater wrote nothing"
    if completion.finish_reason == "length":
        return "truncated", "the limit of debate.argument_tokens was reached"
    return "ok", None


def _error_argument(order: Order, round_number: int, side: Literal["a", "b"]) -> Callable[[str], Argument]:
    return lambda why: Argument(order=order, round=round_number, side=side, status="error", reason=why)


def _pin(sampling: VoteSampling, version: str | None) -> VoteSampling:
    """Ask for the version that spoke before, unless it has no version number that can be asked for."""
    return replace(sampling, policy=version) if version is not None and is_policy_version(version) else sampling


def _check_version(before: str | None, now: str, statuses: Iterable[str]) -> str | None:
    """The version that wrote everything so far; None when nothing was written.

    Raises WrongPolicyVersion when another version wrote what came before.
    """
    if all(status == "error" for status in statuses):
        return before
    if before not in (None, now):
        raise WrongPolicyVersion(f"the engine served {before} and then {now} in one debate: try again", 409)
    return now


def _sum_usage(usages: Sequence[Usage]) -> Usage:
    prompt = sum(usage.prompt_tokens for usage in usages)
    completion = sum(usage.completion_tokens for usage in usages)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
