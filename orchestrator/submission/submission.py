"""Submission of a run: check everything before any work starts, store the seed data, and queue the run."""

import asyncio
import secrets
import time
from pathlib import Path
from urllib.parse import quote

from orchestrator.phases.adoption import check_start
from orchestrator.phases.disk import check_room
from orchestrator.runs.context import Services
from orchestrator.runs.state import create, load, load_open, stopped_runs
from orchestrator.submission.quotas import check_recipe, check_runs, check_seed_files
from selfreward.client.http import ServiceClient, ServiceError
from selfreward.loop import paths
from selfreward.loop.methods import method_of
from selfreward.loop.methods.plan import RubricUse
from selfreward.loop.record import RunState, now
from selfreward.loop.seed.chat_template import check_of
from selfreward.loop.seed.read import SeedData, read_seed_data, snapshot
from selfreward.recipe.recipe import Recipe, RecipeError
from selfreward.settings import key_of
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import REMOVED_NAME, removed_text


class RunExists(RuntimeError):
    """A run of that id exists and has another recipe."""


async def submit(services: Services, recipe: Recipe, run: str | None) -> tuple[RunState, bool]:
    """Submit a run; returns the run and whether it is new. A repeated submission returns the existing run.

    Raises RecipeError or SeedError with the mistake, RunExists, TooManyRuns, NoRoom, ServiceError if the judge does not
    answer, and pydantic's ValidationError for an invalid id.
    """
    name = run or f"{recipe.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    state = RunState(run=name, recipe=recipe, recipe_hash=recipe.hash, created_at=now())
    existing = await load(services.redis, name)
    if existing is not None:
        return _check_same(existing, state), False
    await asyncio.to_thread(_check_artifacts, services.store, state)
    await check_place(services)
    check_room(services)
    check_model(recipe)
    await asyncio.to_thread(check_seed_files, recipe, services.settings)
    seed = await asyncio.to_thread(_read_seed, recipe)
    check_recipe(recipe, seed, services.settings)
    await asyncio.to_thread(check_start, services.store, recipe, seed)
    await _check_rubrics(services, recipe)
    await asyncio.to_thread(_store_seed, services.store, name, seed)
    if not await create(services.redis, state):
        existing = await load(services.redis, name)
        return _check_same(existing or state, state), False
    return state, True


async def check_place(services: Services) -> None:
    """Raises TooManyRuns if no further run may be queued or resumed."""
    check_runs(await load_open(services.redis), await stopped_runs(services.redis), services.settings)


def check_model(recipe: Recipe) -> None:
    """Raises RecipeError if the base model is not a checkpoint folder in Hugging Face layout."""
    folder = Path(recipe.model)
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]
    if not folder.is_dir():
        raise RecipeError(
            f"model = {recipe.model!r} is not a folder (working directory {Path.cwd()}): give a checkpoint folder in "
            "Hugging Face layout, for example one that `hf download` made"
        )
    if (folder / REMOVED_NAME).exists():
        raise RecipeError(f"model: {removed_text(recipe.model, (folder / REMOVED_NAME).read_bytes())}")
    if missing or not any(folder.glob("*.safetensors")):
        lacking = ", ".join([*missing, *([] if any(folder.glob("*.safetensors")) else ["*.safetensors"])])
        raise RecipeError(f"model = {recipe.model!r} has no {lacking}: give a complete checkpoint folder")


def _read_seed(recipe: Recipe) -> SeedData:
    """The seed rows, each written once by the base model's chat template. Raises RecipeError or SeedError."""
    try:
        check = check_of(Path(recipe.model))
    except ValueError as error:
        raise RecipeError(f"model: {error}") from error
    return read_seed_data(recipe, check) if check else read_seed_data(recipe)


def _check_same(existing: RunState, submitted: RunState) -> RunState:
    if existing.recipe_hash != submitted.recipe_hash:
        raise RunExists(
            f"run {existing.run!r} exists with another recipe (hash {existing.recipe_hash}, not "
            f"{submitted.recipe_hash}): choose another run id, or submit the same recipe to continue it"
        )
    return existing


def _check_artifacts(store: ArtifactStore, submitted: RunState) -> None:
    """Raises RunExists if artifacts of a run whose record was deleted would be taken for this run's."""
    name = paths.record(submitted.run)
    known = store.read_json(name).get("recipe_hash") if store.exists(name) else None
    if known not in (None, submitted.recipe_hash):
        raise RunExists(
            f"there are artifacts of another run {submitted.run!r} (recipe hash {known}), whose record was deleted: "
            f"choose another run id, or delete runs/{submitted.run} in the artifact store"
        )


async def _check_rubrics(services: Services, recipe: Recipe) -> None:
    settings = services.settings
    async with ServiceClient(settings.judge_url, key_of(settings), deadline=15, attempts=4) as judge:
        for use in method_of(recipe).rubrics(recipe):
            await _check_rubric(judge, use)


async def _check_rubric(judge: ServiceClient, use: RubricUse) -> None:
    try:
        reply = await judge.request("GET", f"/v1/rubrics/{quote(use.name, safe='@:')}")
    except ServiceError as error:
        if error.status == 404:
            raise RecipeError(f"{use.key} = {use.name!r}: {error}") from error
        raise
    kind = reply.json()["kind"]
    if use.kind is not None and kind != use.kind:
        raise RecipeError(f"{use.key} = {use.name!r} is a rubric of kind {kind!r}: give one of kind {use.kind!r}")


def _store_seed(store: ArtifactStore, run: str, seed: SeedData) -> None:
    for name, rows in snapshot(seed).items():
        store.write_jsonl(paths.data(run, name), rows())
