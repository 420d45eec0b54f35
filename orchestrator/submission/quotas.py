"""What a submission may ask for at most, from the recipe and its seed data alone: before any work starts."""

from pathlib import Path

from orchestrator.settings import OrchestratorSettings
from selfreward.loop.methods import method_of
from selfreward.loop.record import RunState
from selfreward.loop.seed import SeedData, prompts_in_keys
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.server.disk import MIB

RETRY_AFTER_S = 60


class TooManyRuns(RuntimeError):
    """As many runs as allowed are queued or running."""


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
    """Raises TooManyRuns when no further run may be queued. Two callers at one moment may both find the last place."""
    unfinished = [state.run for state in states if state.state != "done" and state.run not in stopped]
    if len(unfinished) >= settings.max_unfinished_runs:
        raise TooManyRuns(
            f"{len(unfinished)} runs are queued or running, {settings.max_unfinished_runs} are allowed: wait until one "
            f"ends, stop one (`selfreward stop {unfinished[-1]}`), or raise SELFREWARD_MAX_UNFINISHED_RUNS"
        )
