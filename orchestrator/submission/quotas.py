"""Quotas: the limits of a submission, checked from recipe and seed data before any work starts."""

from pathlib import Path

from orchestrator.settings import OrchestratorSettings
from selfreward.loop.methods import method_of
from selfreward.loop.record import RunState
from selfreward.loop.seed.read import SeedData, prompts_in_keys
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.server.disk import MIB

RETRY_AFTER_S = 60


class TooManyRuns(RuntimeError):
    """The allowed number of runs is queued or running."""


def check_seed_files(recipe: Recipe, settings: OrchestratorSettings) -> None:
    """Raises RecipeError for a seed file that is too large. `read_seed_data` reports missing files."""
    for name in type(recipe.data).model_fields:
        path = getattr(recipe.data, name)
        size = Path(path).stat().st_size if path and Path(path).is_file() else 0
        if size > settings.max_seed_mib * MIB:
            raise RecipeError(
                f"data.{name} = {path!r} has {size / MIB:.1f} MiB, a seed file may have {settings.max_seed_mib}: give "
                "fewer rows, or raise SELFREWARD_MAX_SEED_MIB"
            )


def check_recipe(recipe: Recipe, seed: SeedData, settings: OrchestratorSettings) -> None:
    """Raises RecipeError if a run would answer too many prompts or generate too many tokens."""
    method = method_of(recipe)
    prompts = method.slices(recipe) * recipe.prompts.per_iteration
    if prompts > settings.max_run_prompts:
        raise RecipeError(
            f"{prompts_in_keys(recipe)} = {prompts}, a run may answer {settings.max_run_prompts} prompts"
            ": lower one of them, or raise SELFREWARD_MAX_RUN_PROMPTS"
        )
    tokens = method.tokens(recipe, *(sum(len(row.responses) for row in rows) for rows in (seed.eft, seed.eft_eval)))
    if tokens > settings.max_run_tokens:
        raise RecipeError(
            f"the run may generate up to {tokens} tokens (sampling.max_tokens = {recipe.sampling.max_tokens}, "
            f"sampling.n = {recipe.sampling.n}, judging.votes = {recipe.judging.votes}, judging.max_tokens = "
            f"{recipe.judging.max_tokens}, {prompts} prompts, and evaluation), a run may generate "
            f"{settings.max_run_tokens}: lower one of them, or raise SELFREWARD_MAX_RUN_TOKENS"
        )


def check_runs(states: list[RunState], stopped: set[str], settings: OrchestratorSettings) -> None:
    """Raises TooManyRuns if no further run may be queued. Two concurrent callers may both get the last place."""
    unfinished = [state.run for state in states if state.state != "done" and state.run not in stopped]
    if len(unfinished) >= settings.max_unfinished_runs:
        raise TooManyRuns(
            f"{len(unfinished)} runs are queued or running, {settings.max_unfinished_runs} are allowed: wait until one "
            f"ends, stop one (`selfreward stop {unfinished[-1]}`), or raise SELFREWARD_MAX_UNFINISHED_RUNS"
        )
