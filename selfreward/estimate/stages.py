"""Estimates for each stage of a run: memory of a training process, tokens and time. docs/planning.md has the formulas.

The estimates are upper bounds: answers are as long as they may be, and every prompt gives as many pairs as it can.
"""

from pathlib import Path
from typing import NamedTuple

from selfreward.contracts.optimisation import Optimisation
from selfreward.contracts.reinforcement import RlHyper
from selfreward.contracts.training import DpoHyper, SftHyper
from selfreward.estimate.devices import Cpu
from selfreward.estimate.memory import Memory, memory, trainable
from selfreward.estimate.shape import Shape
from selfreward.estimate.time import Assumptions, generating_hours, sampling_hours, training_hours
from selfreward.json_lines import numbered_lines, parse_line
from selfreward.loop.cost import Cost, total
from selfreward.loop.methods import method_of
from selfreward.loop.stages import stage_number
from selfreward.recipe.recipe import Recipe

RUBRIC_TOKENS = 400
"""Tokens of a rubric without the answer that it judges. The shipped rubrics for language have 250 to 500."""


class SeedSizes(NamedTuple):
    """Rows of `data.ift`, and human-ranked answers in `data.eft` and `data.eft_eval`. The defaults are the paper's."""

    ift: int = 3200
    eft: int = 1630 * 3
    eft_eval: int = 541 * 3


def seed_sizes(recipe: Recipe) -> tuple[SeedSizes, list[str]]:
    """Sizes of the recipe's seed files, and the keys of the files that do not exist here, whose sizes are the paper's.

    A file that the recipe does not name has no rows.
    """
    sizes, assumed = {}, []
    paper = SeedSizes()._asdict()
    for key, size in paper.items():
        path = getattr(recipe.data, key)
        if path is None:
            sizes[key] = 0
        elif Path(path).is_file():
            rows = [parse_line(line) for _, line in numbered_lines(Path(path))]
            sizes[key] = sum(len(row.get("responses", [row])) for row in rows)
        else:
            sizes[key] = size
            assumed.append(f"data.{key}")
    return SeedSizes(**sizes), assumed


class StagePlan(NamedTuple):
    """One stage: the parameters that it trains, its memory, the most tokens that it generates, its time in hours.

    M0 trains nothing and needs no memory of the trainer: it is only evaluated.
    """

    stage: str
    trained: int
    memory: Memory
    rollout_tokens: int
    judge_tokens: int
    evaluation_tokens: int
    generating: float
    training: float


def plan_run(recipe: Recipe, shape: Shape, seed: SeedSizes, by: Assumptions) -> list[StagePlan]:
    """An estimate for each stage of the run, without those up to M1 where they come from another run."""
    method = method_of(recipe)
    planned = [] if recipe.loop.start_from else _before_rounds(recipe, shape, seed, by)
    for number in range(2, recipe.loop.iterations + 2):
        stage = f"M{number}"
        # A future model is a part of its round.
        models = [name for name in method.rounds(recipe) if stage_number(name) == number]
        cost = total(method.cost(recipe, name) for name in models)
        rows = recipe.prompts.per_iteration * method.rows_per_prompt(recipe, stage)
        rows *= 1 + sum(recipe.loop.replay[: number - 2])
        hyper = method.hyperparameters(recipe, stage)
        demonstrations = seed.ift if isinstance(hyper, SftHyper) else 0
        planned.append(_stage(recipe, shape, stage, hyper, demonstrations + rows, cost, seed, by))
    return planned


def _before_rounds(recipe: Recipe, shape: Shape, seed: SeedSizes, by: Assumptions) -> list[StagePlan]:
    """M0, the SFT baseline, where there is one, and M1."""
    method = method_of(recipe)
    planned = [_base(recipe, shape, by)]
    for stage in [*method.baseline(recipe), "M1"]:
        kind, rows, cost = method.kind(recipe, stage), 0, method.cost(recipe, stage)
        if kind == "eft":
            rows = seed.eft * recipe.eft.judgments
            cost = Cost(texts=seed.eft, judged=rows * recipe.judging.max_tokens)
        elif kind == "revised":
            rows = recipe.prompts.per_iteration
        hyper = method.hyperparameters(recipe, stage)
        planned.append(_stage(recipe, shape, stage, hyper, seed.ift + rows, cost, seed, by))
    return planned


def _base(recipe: Recipe, shape: Shape, by: Assumptions) -> StagePlan:
    """M0, which only answers the held-out prompts."""
    length, answered = by.prompt_tokens + recipe.sampling.max_tokens, _evaluation_answers(recipe)
    generating = generating_hours(shape, 2 * recipe.evaluation.prompts * by.prompt_tokens, answered, length, by)
    return StagePlan("M0", 0, Memory(0.0, 0.0, 0.0, 0.0, 0.0), 0, 0, answered, generating, 0.0)


def _evaluation_answers(recipe: Recipe) -> int:
    """The most tokens of a model's sampled answers and greedy ones to the held-out prompts."""
    return recipe.evaluation.prompts * (recipe.evaluation.samples + 1) * recipe.sampling.max_tokens


def _stage(
    recipe: Recipe,
    shape: Shape,
    stage: str,
    hyper: Optimisation,
    rows: float,
    cost: Cost,
    seed: SeedSizes,
    by: Assumptions,
) -> StagePlan:
    sampling, judging, plan = recipe.sampling, recipe.judging, recipe.evaluation
    judgments = min(plan.judged_prompts, plan.prompts) * plan.samples + seed.eft_eval
    evaluated = _evaluation_answers(recipe) + judgments * judging.votes * judging.max_tokens
    length = by.prompt_tokens + sampling.max_tokens
    # The engine reads a prompt once for all its samples, and a text once for all votes on it (prefix caching).
    prompts, texts = cost.prompts + 2 * plan.prompts, cost.texts + judgments
    read = prompts * by.prompt_tokens + texts * (RUBRIC_TOKENS + length)
    written = cost.answered + cost.judged + evaluated
    if hyper.bf16 is None:
        by_machine = isinstance(by.device, Cpu) and by.device.bf16 and shape.stored_bytes == 2
        hyper = hyper.model_copy(update={"bf16": by_machine})
    world = recipe.trainer.world_size
    by_trainer, training, own_length = 0, 0.0, length
    if isinstance(hyper, RlHyper):
        own_length = by.prompt_tokens + hyper.max_tokens
        by_trainer = cost.sampled * hyper.max_tokens
        training = sampling_hours(shape, hyper, cost.sampled, world, by)
    row = min(hyper.max_length, own_length) * (2 if isinstance(hyper, DpoHyper) else 1)
    return StagePlan(
        stage=stage,
        trained=trainable(shape, hyper),
        memory=memory(shape, hyper, world, recipe.trainer.sharding),
        rollout_tokens=cost.answered + by_trainer,
        judge_tokens=cost.judged,
        evaluation_tokens=evaluated,
        generating=generating_hours(shape, read, written, length, by),
        training=training + training_hours(shape, hyper, rows, row, world, by),
    )
