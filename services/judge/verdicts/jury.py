"""A jury: all the engines that judge by one rubric (2404.18796). Each gives as many votes, which say whose they are.

An engine that fails gives votes of status `error`, and the others' votes count.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from selfreward.client.http import ServiceError
from selfreward.contracts.judging import Usage
from services.judge.engine.engine import Engine, EngineUnavailable
from services.judge.engine.lookup import CacheMode
from services.judge.engine.named import SETTING
from services.judge.rubrics.template import Template, Value
from services.judge.verdicts.filling import fill_prompts
from services.judge.verdicts.question import AnyVote, Question
from services.judge.verdicts.questions import QuestionVotes, judge_questions, unanswered
from services.judge.verdicts.sampling import VoteSampling


@dataclass(frozen=True)
class Jury:
    """Engines by the names that rubrics have for them. The judge's own engine, which has no name, is alone."""

    engines: Mapping[str | None, Engine]

    @property
    def first(self) -> Engine:
        """The only engine, or the one that the rubric names first."""
        return next(iter(self.engines.values()))

    @property
    def waiting(self) -> int:
        """The questions that wait for the busiest engine."""
        return max(engine.slots.waiting for engine in self.engines.values())

    def for_request(self, caller: str, cache: CacheMode | None) -> "Jury":
        """The same engines, for one request of a caller."""
        return Jury({name: engine.for_request(caller, cache) for name, engine in self.engines.items()})


async def ask_jury(
    jury: Jury,
    template: Template,
    values: Sequence[Mapping[str, Value]],
    questions_of: Callable[[Sequence[str]], list[Question[AnyVote]]],
    sampling: VoteSampling,
) -> QuestionVotes[AnyVote]:
    """Put a question for each of the `values` to every engine, and join the votes in the order of the engines.

    `questions_of` makes questions of filled prompts, which may differ by the engines' special tokens. Raises as
    `judge_questions` does; of a jury the error of one engine, when all have failed.
    """
    results: dict[str | None, tuple[list[Question[AnyVote]], QuestionVotes[AnyVote] | ServiceError]] = {}

    async def ask(name: str | None, engine: Engine) -> None:
        questions = questions_of(await fill_prompts(template, values, engine.tokens))
        try:
            results[name] = questions, await judge_questions(engine, questions, sampling)
        except ServiceError as error:
            if name is None:
                raise
            results[name] = questions, type(error)(f"engine {name!r} of {SETTING}: {error}", error.status)

    if len(jury.engines) == 1:
        await ask(*next(iter(jury.engines.items())))
    else:
        async with asyncio.TaskGroup() as group:
            for name, engine in jury.engines.items():
                group.create_task(ask(name, engine))

    outcomes = [results[name][1] for name in jury.engines]
    errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
    if len(errors) == len(outcomes):
        # Another try helps if it helps any of them.
        raise next((error for error in errors if isinstance(error, EngineUnavailable)), errors[0])
    judged: dict[str | None, QuestionVotes[AnyVote]] = {}
    for name in jury.engines:
        questions, outcome = results[name]
        judged[name] = (
            unanswered(questions, str(outcome), sampling.votes) if isinstance(outcome, ServiceError) else outcome
        )
    return _join(judged)


def _join(judged: Mapping[str | None, QuestionVotes[AnyVote]]) -> QuestionVotes[AnyVote]:
    if None in judged:
        return judged[None]
    marked = [
        [[cast(AnyVote, vote.model_copy(update={"engine": name})) for vote in votes] for votes in each.votes]
        for name, each in judged.items()
    ]
    prompt = sum(each.usage.prompt_tokens for each in judged.values())
    completion = sum(each.usage.completion_tokens for each in judged.values())
    return QuestionVotes(
        [[vote for votes in of_question for vote in votes] for of_question in zip(*marked, strict=True)],
        ", ".join(f"{name}={each.version}" for name, each in judged.items()),
        Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion),
    )
