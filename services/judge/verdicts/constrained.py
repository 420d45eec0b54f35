"""Have the engine write the verdicts that its free text lacks: its own text goes on with the label, and then a grammar.

The reasoning before the verdict is free, and a judge that writes readable verdicts costs nothing more. Where a vote is
unparsed or truncated, one short request continues its text by the verdict's label, and the engine can write nothing but
a verdict (`continue_final_message` and `structured_outputs` of vLLM; SGLang calls the latter `regex`). The continuation
is a vote only if it has the form, so an engine that ignores these fields changes no vote. It is not asked again for
this form. The first request for a form finds that out while the others wait.
"""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any, cast

from selfreward.client.http import RETRIED_STATUSES, ServiceError
from selfreward.contracts.base import is_policy_version
from selfreward.contracts.comparisons import Argument, ComparisonVote
from selfreward.contracts.judging import Vote
from services.judge.engine.engine import Engine
from services.judge.engine.reply import Completion, EngineReply
from services.judge.engine.slots import Lane
from services.judge.reading.read import VerdictForm
from services.judge.reading.view import blank_reasoning
from services.judge.verdicts.question import AnyVote, Question
from services.judge.verdicts.sampling import derive_seed

_REFUSALS = frozenset({400, 404, 422, 500, 501})
_RETRIED = RETRIED_STATUSES - _REFUSALS
_TOO_LONG = re.compile(r"context|too long|too large|max_model_len", re.IGNORECASE)
_MOST_SHOWN = 40
_log = logging.getLogger(__name__)


async def constrain_verdicts(
    engine: Engine,
    lane: Lane,
    questions: Sequence[Question[AnyVote]],
    bodies: Sequence[dict[str, Any]],
    votes: Sequence[list[AnyVote]],
    version: str,
) -> list[EngineReply]:
    """Replace votes without a readable verdict in `votes` by those whose verdict the engine writes in its form.

    A vote that was cut off in its reasoning stays truncated. Where a request fails, or another version answers, the
    votes stay: they say themselves what is wrong.
    """
    model = version if is_policy_version(version) else None
    replies: list[EngineReply] = []
    known, trying = engine.abilities.constrains, engine.abilities.trying

    def give_up(form: VerdictForm[object], why: str) -> None:
        if form.rest not in known:
            known[form.rest] = False
            told = {"verdict": form.lead + form.rest, "reason": why}
            _log.info("the engine does not constrain a verdict, so unparsed votes stay", extra=told)

    async def constrain(index: int, position: int, form: VerdictForm[object]) -> None:
        if form.rest not in known:
            async with trying[form.rest]:
                if form.rest not in known:
                    await ask(index, position, form)
                    return
        if known[form.rest]:
            await ask(index, position, form)

    async def ask(index: int, position: int, form: VerdictForm[object]) -> None:
        vote, body, question = votes[index][position], bodies[index], questions[index]
        if isinstance(vote, Argument):
            return
        begun = f"{vote.text.rstrip()}\n{form.lead}".lstrip("\n")
        messages = [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": begun}]
        if vote.reasoning_content is not None:
            messages[1]["reasoning_content"] = vote.reasoning_content
        seed = {"seed": derive_seed(body["seed"], "verdict", position)} if "seed" in body else {}
        try:
            continuation = {**body, **_held_to(form), **seed, "messages": messages}
            reply = await engine.ask(lane, question.prompt, model, continuation, _RETRIED)
        except ServiceError as error:
            if error.status in _REFUSALS and not _TOO_LONG.search(str(error)):
                give_up(form, str(error))
            return
        written = reply.completions[0] if reply.completions else None
        if written is None or written.fault is not None or reply.version != version:
            return
        if written.text == vote.text:
            return  # the engine answers anew and does not go on
        if not re.fullmatch(form.rest, written.text):
            give_up(form, f"it wrote {written.text[:_MOST_SHOWN]!r}")
            return

        # Read the whole text. Nothing is known of the probabilities before the continuation.
        known[form.rest] = True
        replies.append(reply)
        tokens = None if written.logprobs is None else [{"token": begun}, *written.logprobs]
        whole = question.vote(Completion(begun + written.text, "stop", None, tokens, vote.reasoning_content))
        if whole.status == "ok":
            votes[index][position] = cast(AnyVote, whole.model_copy(update={"constrained": True}))

    async with asyncio.TaskGroup() as group:
        for index, question in enumerate(questions):
            for position, vote in enumerate(votes[index]):
                if question.form is not None and _is_open(vote):
                    group.create_task(constrain(index, position, question.form))
    return replies


def _is_open(vote: Vote | ComparisonVote | Argument) -> bool:
    """Whether a verdict can follow the vote's text: it has none, and its reasoning has ended."""
    if isinstance(vote, Argument) or vote.status not in ("unparsed", "truncated"):
        return False
    in_reasoning = blank_reasoning(vote.text)[1] or (vote.reasoning_content and not vote.text.strip())
    return not in_reasoning


def _held_to(form: VerdictForm[object]) -> dict[str, Any]:
    """The fields of a request that goes on with its last message, and writes nothing but a verdict."""
    return {
        "n": 1,
        # A token has at least one character, and no verdict has more than its grammar.
        "max_tokens": len(form.rest),
        "add_generation_prompt": False,
        "continue_final_message": True,
        "structured_outputs": {"regex": form.rest},
        "regex": form.rest,
        # Constrain from the first token, also behind a parser that waits for the end of the reasoning.
        "include_reasoning": False,
    }
