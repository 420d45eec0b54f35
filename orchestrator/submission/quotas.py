"""What a submission may ask for at most, from the recipe and its seed data alone: before any work starts."""

from math import ceil
from pathlib import Path

from orchestrator.settings import OrchestratorSettings
from selfreward.loop import plan
from selfreward.loop.record import RunState
from selfreward.loop.seed import SeedData, prompts_in_keys
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.server.disk import MIB

RETRY_AFTER_S = 60


class TooManyRuns(RuntimeError):
    """As many runs as allowed are queued or running."""


def prompts_asked(recipe: Recipe) -> int:
    """Prompts that a run answers, evaluation apart."""
    return plan.slices(recipe) * recipe.prompts.per_iteration


def tokens_asked(recipe: Recipe, eft_answers: int, eval_answers: int) -> int:
    """Upper bound of the tokens that a run generates, its judgments included; repeats after failures are not.

    `eft_answers` and `eval_answers` are how many human-ranked answers `data.eft` and `data.eft_eval` hold.
    """
    sampling, judging, evaluation = recipe.sampling, recipe.judging, recipe.evaluation
    judged = judging.votes * judging.max_tokens
    votes = 2 * (sampling.n // 2) * recipe.scir.votes * recipe.scir.max_tokens if plan.compared(recipe) else 0
    rounds = 0
    for stage in plan.stages(recipe):
        if recipe.method == "process" and plan.kind(recipe, stage) == "round":
            rounds += recipe.prompts.per_iteration * _search_tokens(recipe)
        elif plan.kind(recipe, stage) in ("future", "round"):
            judgments = plan.answers(recipe, stage) * judged if plan.judged(recipe) else votes
            rounds += recipe.prompts.per_iteration * (sampling.n * sampling.max_tokens + judgments)
    if recipe.method == "temporal":
        rounds += prompts_asked(recipe) * sampling.n * sampling.max_tokens
    rounds += recipe.prompts.per_iteration * (_meta_tokens(recipe) + _constitutional_tokens(recipe))
    evaluated = [stage for stage in plan.stages(recipe) if "evaluate" in plan.phases(recipe, stage)]
    # Sampled answers and a greedy one to each prompt, and judgments of some of them and of the ranked answers.
    answers = evaluation.prompts * (evaluation.samples + 1) * sampling.max_tokens
    judgments = min(evaluation.judged_prompts, evaluation.prompts) * evaluation.samples + eval_answers
    judging = recipe.evaluation_judging
    total = rounds + len(evaluated) * (answers + judgments * judging.votes * judging.max_tokens)
    if recipe.loop.use_eft:
        total += eft_answers * recipe.eft.judgments * judging.max_tokens
    if recipe.prompts.source == "self_instruct" and recipe.loop.iterations:
        times = recipe.loop.iterations if recipe.method == "self_improving" else 1
        total += times * recipe.prompts.self_instruct.max_requests * recipe.prompts.self_instruct.max_tokens
    if recipe.method == "self_improving":
        # The trainer samples these answers itself, and the judge reads them.
        sampled = prompts_asked(recipe) * recipe.rl.group * ceil(recipe.rl.epochs)
        total += sampled * (recipe.rl.max_tokens + judged)
    return total


def _search_tokens(recipe: Recipe) -> int:
    """Of one prompt: at each step its candidates, and every two of them compared in both orders."""
    n, judging = recipe.sampling.n, recipe.process.judging
    compared = n * (n - 1) * judging.votes * judging.max_tokens
    return recipe.process.most_steps * (n * recipe.sampling.max_tokens + compared)


def _meta_tokens(recipe: Recipe) -> int:
    """Of one prompt in all rounds: every two judgments of an answer are compared in both orders."""
    rounds = sum(plan.meta_judged(recipe, stage) for stage in plan.stages(recipe))
    return rounds * recipe.judging.votes * (recipe.judging.votes - 1) * recipe.meta.max_tokens


def _constitutional_tokens(recipe: Recipe) -> int:
    """Of one prompt of M1 its critiques and revisions, and of one prompt in all rounds the comparisons."""
    if recipe.method != "constitutional":
        return 0
    sampling, rules = recipe.sampling, recipe.constitution
    compared = sampling.n * (sampling.n - 1) * rules.principles * rules.max_tokens
    revised = 0 if plan.adopted(recipe, "M1") else (1 + 2 * rules.revisions) * sampling.max_tokens
    return revised + recipe.loop.iterations * compared


def check_seed_files(recipe: Recipe, settings: OrchestratorSettings) -> None:
    """Raises RecipeError for a seed file that is too long to be read. Files that are missing are `read_seed_data`'s."""
    for name in type(recipe.data).model_fields:
        given = getattr(recipe.data, name)
        size = Path(given).stat().st_size if given and Path(given).is_file() else 0
        if size > settings.max_seed_mib * MIB:
            raise RecipeError(
                f"data.{name} = {given!r} has {size / MIB:.1f} MiB, a seed file may have {settings.max_seed_mib}: give "
                "fewer rows, or raise SELFREWARD_MAX_SEED_MIB"
            )


def check_recipe(recipe: Recipe, seed: SeedData, settings: OrchestratorSettings) -> None:
    """Raises RecipeError when a run asks for more prompts or tokens than a run may."""
    prompts = prompts_asked(recipe)
    if prompts > settings.max_run_prompts:
        raise RecipeError(
            f"{prompts_in_keys(recipe)} = {prompts}, a run may answer {settings.max_run_prompts} prompts"
            ": lower one of them, or raise SELFREWARD_MAX_RUN_PROMPTS"
        )
    tokens = tokens_asked(recipe, *(sum(len(row.responses) for row in rows) for rows in (seed.eft, seed.eft_eval)))
    if tokens > settings.max_run_tokens:
        raise RecipeError(
            f"the run may generate up to {tokens} tokens (sampling.max_tokens = {recipe.sampling.max_tokens}, "
            f"sampling.n = {recipe.sampling.n}, judging.votes = {recipe.judging.votes}, judging.max_tokens = "
            f"{recipe.judging.max_tokens}, {prompts} prompts, and evaluation), a run may generate "
            f"{settings.max_run_tokens}: lower one of them, or raise SELFREWARD_MAX_RUN_TOKENS"
        )


def check_runs(states: list[RunState], stopped: set[str], settings: OrchestratorSettings) -> None:
    """Raises TooManyRuns when no further run may be queued. Two callers at one moment may both find the last place."""
    unfinished = [state.run for state in states if state.state != "done" and state.run not in stopped]
    if len(unfinished) >= settings.max_unfinished_runs:
        raise TooManyRuns(
            f"{len(unfinished)} runs are queued or running, {settings.max_unfinished_runs} are allowed: wait until one "
            f"ends, stop one (`selfreward stop {unfinished[-1]}`), or raise SELFREWARD_MAX_UNFINISHED_RUNS"
        )
