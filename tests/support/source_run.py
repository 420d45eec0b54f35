"""A run that others can start from."""

from pathlib import Path

from selfreward.loop import paths
from selfreward.loop.seed.read import SeedData, snapshot
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest

SOURCE, STAGES = "source", ("M0", "SFT", "M1")


def leave_source(store: ArtifactStore, recipe: Recipe, seed: SeedData) -> None:
    """What a run leaves behind by the end of M1, as far as it is taken over."""
    models = []
    for stage in STAGES:

        def fill(folder: Path, stage: str = stage) -> None:
            (folder / "model.safetensors").write_text(f"weights of {stage}")

        lineage = Lineage(run=SOURCE, stage=stage, parent=None if stage == "M0" else paths.weights(SOURCE, "M0"))
        described = WeightsManifest(files={}, lineage=lineage)
        _, digest = store.publish(paths.weights(SOURCE, stage), fill, lambda _, made=described: made)  # type: ignore[misc]
        models.append({"name": stage, "artifact": paths.weights(SOURCE, stage), "digest": digest, "removed": False})
        for part in ("samples", "greedy", "eft_eval"):
            store.write_jsonl(f"runs/{SOURCE}/evaluation/{stage}/{part}.jsonl", [{"of": f"{stage} {part}"}])
        store.write_json(f"runs/{SOURCE}/evaluation/{stage}/labels.json", {"samples": "by the checker"})
    for name, rows in snapshot(seed).items():
        store.write_jsonl(paths.data(SOURCE, name), rows())
    store.write_jsonl(paths.data(SOURCE, "eft"), [{"eft": 1}])
    store.write_jsonl(paths.data(SOURCE, "judge_pairs"), [{"pair": 1}])
    journal = [{"stage": "M1", "phase": "evaluate"}]
    record = {"recipe": recipe.model_dump(mode="json"), "models": models, "journal": journal}
    store.write_json(f"runs/{SOURCE}/run.json", record)
