"""The audit of a run from its artifacts alone (`selfreward audit`), after crashes or before its data is reused.

The audit checks that the journal follows the plan, that every checkpoint agrees with its manifest and descends from its
parent, that every prompt is accounted for exactly once, that the served policy version wrote every answer, and that the
pairs are those that the rollouts give. It reads nothing from Redis and computes again whatever can be computed again.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from selfreward.contracts.base import Message
from selfreward.loop import paths
from selfreward.loop.audit.rounds import check_evaluation, check_stage, check_training
from selfreward.loop.load import RunRecipe
from selfreward.loop.methods import method_of
from selfreward.loop.methods.checks import Violation
from selfreward.loop.stages import is_adopted
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, InvalidArtifact, WeightsManifest, verify_folder

_NO_CANARY = [Message(role="user", content="")]


def audit(store: ArtifactStore, run: str) -> list[Violation]:
    """Everything that is wrong with a run's finished phases, as far as retention has kept them.

    FileNotFoundError for an unknown run.
    """
    record = store.read_json(paths.record(run))
    recipe = RunRecipe.model_validate(record["recipe"])
    journal = [(entry["stage"], entry["phase"]) for entry in record["journal"]]
    versions = {model["name"]: model["policy_version"] for model in record["models"]}
    violations = [*_journal(record, recipe, journal), *_models(store, run, recipe, record), *_files(store, run)]
    retained = paths.retention(run)
    removed = store.read_json(retained).get("rollouts", []) if store.exists(retained) else []
    method = method_of(recipe)
    for stage in method.stages(recipe):
        if (stage, "pairs") in journal and not method.rollout_stages(recipe, stage) & {*removed}:
            actor = versions.get(method.actor(recipe, stage))
            violations += _read(check_stage(store, run, recipe, stage, actor), stage)
        judge = method.training_judge(recipe, stage)
        if judge and (stage, "train") in journal:
            violations += _read(check_training(store, run, recipe, stage, versions.get(judge)), stage)
        if (stage, "evaluate") in journal:
            violations += _read(check_evaluation(store, run, recipe, stage, versions.get(stage)), stage)
    return violations


def _read(violations: Iterator[Violation], stage: str) -> Iterator[Violation]:
    """The violations; an artifact that cannot be read is one too."""
    try:
        yield from violations
    except (ValueError, KeyError, FileNotFoundError) as error:
        yield Violation("unreadable", stage, f"{type(error).__name__}: {error}")


def _journal(record: dict[str, Any], recipe: Recipe, journal: list[tuple[str, str]]) -> Iterator[Violation]:
    method = method_of(recipe)
    planned = [(stage, phase) for stage in method.stages(recipe) for phase in method.phases(recipe, stage)]
    wanted = planned if record["state"] == "done" else planned[: len(journal)]
    if journal != wanted:
        off = next((n for n, (a, b) in enumerate(zip(journal, wanted, strict=False)) if a != b), len(journal))
        yield Violation("journal", "run.json", f"entry {off} of {len(journal)} is not the plan's: {journal[off:][:1]}")


def _models(store: ArtifactStore, run: str, recipe: Recipe, record: dict[str, Any]) -> Iterator[Violation]:
    names, stages = [model["name"] for model in record["models"]], method_of(recipe).stages(recipe)
    if names != stages[: len(names)]:
        yield Violation("lineage", "run.json", f"models {names} are not a start of {stages}")
    numbers = [int(model["policy_version"].rpartition("@")[2]) for model in record["models"]]
    if numbers != sorted(set(numbers)):
        yield Violation("lineage", "run.json", f"policy versions do not grow: {numbers}")
    digests: dict[str, str] = {}
    for model in record["models"]:
        try:
            manifest, digest = _manifest(store, model)
        except InvalidArtifact as error:
            yield Violation("manifest", model["artifact"], str(error))
            continue
        digests[model["artifact"]] = digest
        if digest != model["digest"]:
            yield Violation("manifest", model["artifact"], f"digest {digest} is not the announced {model['digest']}")
        yield from _lineage(run, recipe, model, manifest, digests)


def _manifest(store: ArtifactStore, model: dict[str, Any]) -> tuple[WeightsManifest, str]:
    """A checkpoint's manifest and digest. If retention has removed the weights, only the manifest is checked."""
    if not model.get("removed"):
        return verify_folder(store.fetch(model["artifact"]))
    raw = store.read_bytes(f"{model['artifact']}/{MANIFEST_NAME}")
    return WeightsManifest.model_validate_json(raw), hashlib.sha256(raw).hexdigest()


def _lineage(
    run: str, recipe: Recipe, model: dict[str, Any], manifest: WeightsManifest, digests: dict[str, str]
) -> Iterator[Violation]:
    lineage, artifact, method = manifest.lineage, model["artifact"], method_of(recipe)
    if lineage.parent is not None and lineage.parent_digest != digests.get(lineage.parent, lineage.parent_digest):
        yield Violation("lineage", artifact, f"made of other weights than those at {lineage.parent}")
    expected = {"run": run, "stage": model["name"], "seed": recipe.seed}
    if is_adopted(recipe, model["name"]):
        expected = {"stage": model["name"]}
    elif method.kind(recipe, model["name"]) != "base":
        job = method.train_job(run, recipe, model["name"], _NO_CANARY)
        expected |= {"parent": job.init_from, "datasets": job.datasets, "method": job.method}
    for field, wanted in expected.items():
        value = getattr(lineage, field)
        if value != wanted:
            yield Violation("lineage", artifact, f"{field} is {value!r}, the recipe wants {wanted!r}")


def _files(store: ArtifactStore, run: str) -> Iterator[Violation]:
    """Every data file is complete. Names with a leading dot are work in progress and are skipped."""
    root = store.path(paths.folder(run))
    for path in sorted(store.fs.find(root)):
        name = path.removeprefix(f"{root}/")
        if any(part.startswith(".") for part in name.split("/")):
            continue
        folder, _, file = name.partition("/")
        if folder == "weights" and not store.exists(paths.weights(run, file.split("/")[0])):
            yield Violation("half-written", name, "its folder has no manifest")
        if folder != "weights" and name.endswith((".json", ".jsonl")):
            text = store.fs.cat_file(path).decode()
            try:
                for document in [text] if name.endswith(".json") else text.splitlines():
                    json.loads(document)
            except ValueError as error:
                yield Violation("half-written", name, str(error))
