"""The smallest folder that the artifact store publishes as weights."""

from pathlib import Path

from selfreward.store.manifest import Lineage, WeightsManifest


def fill(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "model.safetensors").chmod(0o600)
    (folder / "sub").mkdir()
    (folder / "sub" / "extra.json").write_text("{}")


def describe(_: Path) -> WeightsManifest:
    return WeightsManifest(files={}, lineage=Lineage(stage="M1"))
