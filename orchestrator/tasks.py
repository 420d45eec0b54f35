"""One unit of the `rollouts` queue: a prompt to answer, to judge, or both, by one pinned policy version."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from orchestrator import plan
from selfreward.config import Judging, Recipe, Sampling
from selfreward.contracts import Contract, Message, Response, content_key
from selfreward.implicit import Scir

QUEUE = "rollouts"
# vLLM takes any 64-bit seed; 31 bits fit every other engine too.
_SEED_BITS = 31


class Generate(Contract):
    """How many answers to sample, and how. Temperature 0 is greedy."""

    n: int = Field(ge=1, le=64)
    temperature: float = Field(ge=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=1)


class Task(Contract):
    """Sample answers (`generate`), take `responses` as given, or both, the given ones last; judge them if asked.

    `part` names the set of results that the task belongs to (`rollouts`, `samples`, `greedy`, `eft`, `eft_eval`).
    `policy` pins who answers, and who judges unless an outside annotator does. `seed` makes a second
    run of the same task draw the same sample. `oppose`: compare the answers two by two, too.
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
    judge: Judging | None = None
    oppose: Scir | None = None

    @model_validator(mode="after")
    def _some_answers(self) -> Self:
        if self.generate is None and not self.responses:
            raise ValueError("give `generate`, `responses` or both: there is nothing to answer or to judge")
        return self


class PromptItem(Contract):
    """A prompt of a run's data with its id, and the answers to judge where they are given."""

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
) -> Task:
    """A task whose key and seed follow from what it is, so that making it again makes the same one."""
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
    )


def seed_of(*parts: object) -> int:
    """A request seed of 31 bits that depends on `parts` alone."""
    return int(content_key(*parts), 16) % (1 << _SEED_BITS)


def sampled(sampling: Sampling, n: int) -> Generate:
    """`n` answers as the recipe samples them."""
    return Generate(n=n, temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens)


def rollout_tasks(run: str, recipe: Recipe, stage: str, prompts: Sequence[PromptItem], policy: str) -> list[Task]:
    """N answers to each prompt, each judged with K votes as the recipe says, if the method judges at all.

    Where the round's answers are the future model's, they are given and only judged. With method `scir` they are
    compared two by two instead, unless its judge is the one that gives points.
    """
    generate = None if plan.present(recipe, stage) else sampled(recipe.sampling, recipe.sampling.n)
    judge = recipe.judging if plan.judged(recipe) else None
    tasks = [make_task(run, recipe, stage, "rollouts", item, policy, generate, judge) for item in prompts]
    return [task.model_copy(update={"oppose": recipe.scir}) for task in tasks] if plan.compared(recipe) else tasks


def eft_tasks(run: str, recipe: Recipe, stage: str, ranked: Sequence[PromptItem], policy: str) -> list[Task]:
    """The baseline's judgments of human-ranked answers, sampled as the EFT section says."""
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
) -> list[Task]:
    """Sampled answers (the first `judged_prompts` self-judged), greedy answers, and judgments of human-ranked ones."""
    evaluation, judging = recipe.evaluation, recipe.evaluation_judging
    prompts = heldout[: evaluation.prompts]
    samples = sampled(recipe.evaluation_sampling, evaluation.samples)
    greedy = Generate(n=1, temperature=0.0, top_p=1.0, max_tokens=recipe.sampling.max_tokens)
    judged = prompts[: evaluation.judged_prompts]
    tasks = [make_task(run, recipe, stage, "samples", item, policy, samples, judging) for item in judged]
    tasks += [make_task(run, recipe, stage, "samples", item, policy, samples) for item in prompts[len(judged) :]]
    tasks += [make_task(run, recipe, stage, "greedy", item, policy, greedy) for item in prompts]
    tasks += [make_task(run, recipe, stage, "eft_eval", item, policy, judge=judging) for item in ranked]
    return tasks
