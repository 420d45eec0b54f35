"""Items of the queue `rollouts`: a prompt to answer, to judge, or both, by one pinned policy version."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message, content_key
from selfreward.contracts.judging import Judgment
from selfreward.contracts.rollouts import Response, Rollout
from selfreward.recipe.recipe import Judging, Recipe, Sampling

QUEUE = "rollouts"
EVALUATION_SETS = ("samples", "greedy", "eft_eval")
"""Parts of a model's evaluation: sampled answers, greedy ones, judgments of human-ranked ones."""


def results_key(run: str, stage: str, phase: str) -> str:
    """Redis key of the hash with a phase's results by task, while the phase runs."""
    return f"selfreward:run:{run}:results:{stage}:{phase}"


# Every engine accepts a seed of 31 bits.
_SEED_BITS = 31


class Generate(Contract):
    """How many answers to sample, and how. Temperature 0 is greedy."""

    n: int = Field(ge=1, le=64)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1)


class Compare(Contract):
    """Compare distinct texts two by two, in both orders, with `votes` in each order.

    `judgments`: every two votes on the only answer, by a rubric of kind `meta`. `answers`: every two answers, by each
    of `principles` and a rubric of kind `constitution`. `neighbours`: the first and the second answer, the third and
    the fourth, ..., by a rubric of kind `pairwise`. `steps`: every two candidates of each step of a search, by a rubric
    of kind `pairwise`. `annotator` as in `Judging`.
    """

    of: Literal["judgments", "answers", "neighbours", "steps"]
    votes: int = Field(default=1, ge=1, le=64)

    annotator: Literal["policy", "engine"] = "policy"
    principles: list[str] = []
    rubric: str
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1)


class Search(Contract):
    """Search for one answer step by step, as the recipe's `[process]` says."""

    separator: str = Field(min_length=1)
    max_steps: int = Field(ge=1)
    backtracks: int = Field(default=0, ge=0)


class Revision(Contract):
    """The requests of one round of revision, with places for the texts that do not exist yet."""

    critique: str
    revision: str


class Task(Contract):
    """Sample answers (`generate`), take given `responses`, or both, the given ones last; with `judge` judge them.

    With `compare` the answers are compared, or the votes in the `judgments` of the only given answer. With `revise` the
    only sampled answer is criticised and revised in as many rounds. With `search` the answer is built step by step:
    `generate` samples the candidates of a step, and `compare` says how they are compared.

    `part` names the set of results of the task (`rollouts`, `samples`, `greedy`, `eft`, `eft_eval`, `meta`). `policy`
    pins the version that answers, and that judges unless an outside annotator does. With the same `seed` a repeated
    task draws the same sample. With `answer_format` the judge sees the final answer alone
    (`selfreward.loop.own_verdicts.final_answer`), or nothing if the answer does not have that format.
    """

    key: str
    run: str
    stage: str
    part: str
    prompt_id: str
    prompt: list[Message] = Field(min_length=1)
    policy: str
    seed: int = Field(ge=0)
    generate: Generate | None = None
    responses: list[Response] = []
    judgments: list[Judgment] = []
    judge: Judging | None = None
    answer_format: str | None = None
    compare: Compare | None = None
    revise: list[Revision] = []
    search: Search | None = None

    @model_validator(mode="after")
    def _some_answers(self) -> Self:
        if self.generate is None and not self.responses:
            raise ValueError("give `generate`, `responses` or both: there is nothing to answer or to judge")
        if self.revise and (self.generate is None or self.generate.n > 1 or self.responses):
            raise ValueError("`revise` needs exactly one sampled answer: give `generate` with n=1 and no `responses`")
        if self.search and (self.generate is None or self.compare is None or self.compare.of != "steps"):
            raise ValueError("`search` samples and compares steps: give `generate`, and `compare` with of='steps'")
        return self

    def rollout(self, responses: list[Response], **fields: Any) -> Rollout:
        """The task's rollout: its answers and further fields."""
        return Rollout(
            key=self.key,
            run=self.run,
            stage=self.stage,
            prompt_id=self.prompt_id,
            prompt=self.prompt,
            policy_version=self.policy,
            responses=responses,
            **fields,
        )


class PromptItem(Contract):
    """A prompt of a run's data with its id, and its given answers if there are any."""

    prompt_id: str
    prompt: list[Message]
    responses: list[Response] = []


def make_task(
    run: str,
    recipe: Recipe,
    stage: str,
    part: str,
    item: PromptItem,
    policy: str,
    generate: Generate | None = None,
    judge: Judging | None = None,
    answer_format: str | None = None,
) -> Task:
    """A task. Key and seed are derived from the content, so making it twice is idempotent."""
    rubric = judge.rubric if judge else None
    return Task(
        key=content_key(run, stage, part, item.prompt_id, rubric, policy),
        run=run,
        stage=stage,
        part=part,
        prompt_id=item.prompt_id,
        prompt=item.prompt,
        policy=policy,
        seed=seed_of(recipe.seed, stage, part, item.prompt_id),
        generate=generate,
        responses=item.responses,
        judge=judge,
        # `eft` and `eft_eval` judge people's answers, which have no format.
        answer_format=answer_format if generate and judge else None,
    )


def items_of(rows: Iterable[Mapping[str, Any]]) -> list[PromptItem]:
    """Rows of prompts as items, with their answers if they have any."""
    return [
        PromptItem(
            prompt_id=row["prompt_id"],
            prompt=row["prompt"],
            responses=[Response(text=response["text"]) for response in row.get("responses", [])],
        )
        for row in rows
    ]


def seed_of(*parts: object) -> int:
    """A request seed of 31 bits, derived from `parts`."""
    return int(content_key(*parts), 16) % (1 << _SEED_BITS)


def generation(sampling: Sampling, n: int) -> Generate:
    """`n` answers as the recipe samples them."""
    return Generate(n=n, temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens)


def eft_tasks(run: str, recipe: Recipe, stage: str, ranked: Sequence[PromptItem], policy: str) -> list[Task]:
    """The baseline's judgments of human-ranked answers, sampled as the recipe's `[eft]` says."""
    eft = recipe.eft
    judging = recipe.judging.model_copy(
        update={"votes": eft.judgments, "temperature": eft.temperature, "top_p": eft.top_p}
    )
    return [make_task(run, recipe, stage, "eft", item, policy, judge=judging) for item in ranked]


def evaluation_tasks(
    run: str,
    recipe: Recipe,
    stage: str,
    heldout: Sequence[PromptItem],
    ranked: Sequence[PromptItem],
    policy: str,
    answer_format: str | None = None,
) -> list[Task]:
    """Sampled answers (the first `judged_prompts` self-judged), greedy answers, and judgments of human-ranked ones."""
    evaluation, judging = recipe.evaluation, recipe.evaluation_judging
    sampled = generation(recipe.evaluation_sampling, evaluation.samples)
    judged = heldout[: min(evaluation.judged_prompts, evaluation.prompts)]
    tasks = [make_task(run, recipe, stage, "samples", item, policy, sampled, judging, answer_format) for item in judged]
    tasks += answer_tasks(run, recipe, stage, heldout, policy)[len(judged) :]
    tasks += [make_task(run, recipe, stage, "eft_eval", item, policy, judge=judging) for item in ranked]
    return tasks


def answer_tasks(run: str, recipe: Recipe, stage: str, heldout: Sequence[PromptItem], policy: str) -> list[Task]:
    """Sampled answers to the held-out prompts, then greedy ones. Nobody judges them."""
    prompts = heldout[: recipe.evaluation.prompts]
    sampled = generation(recipe.evaluation_sampling, recipe.evaluation.samples)
    greedy = Generate(n=1, temperature=0.0, top_p=1.0, max_tokens=recipe.sampling.max_tokens)
    return [
        make_task(run, recipe, stage, part, item, policy, generate)
        for part, generate in (("samples", sampled), ("greedy", greedy))
        for item in prompts
    ]
