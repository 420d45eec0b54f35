"""Publishes weights: safetensors, the parent's other files verbatim, lineage, canary, and what became of the update.

No pickles are read or written.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

from selfreward.contracts.base import Message
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, Lineage, WeightsManifest
from services.trainer.training.canary import make_canary
from services.trainer.training.checks import JobRefused
from services.trainer.training.masters import update_kept
from services.trainer.training.models import load_model, served_dtype

_KEPT = (".json", ".jinja", ".model", ".txt", ".tiktoken")


def publish_model(
    store: ArtifactStore, name: str, model: Any, parent: Path, tokenizer: Any, canary: list[Message], lineage: Lineage
) -> str:
    """Publish trained weights in float32; returns the manifest's digest. `model` is left in half precision.

    Raises JobRefused for weights with NaN or infinite values: another attempt would give them again.
    """
    for tensor, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise JobRefused(f"training diverged, {tensor} is not finite: lower learning_rate or max_grad_norm")

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        copy_other_files(parent, folder)

    def describe(folder: Path) -> WeightsManifest:
        # The canary comes last: it rounds the model.
        kept = update_kept(model, parent, folder)
        proof = make_canary(model, tokenizer, canary, served_dtype(folder))
        return WeightsManifest(files={}, lineage=lineage, canary=proof, update_kept=kept)

    return store.publish(name, fill, describe)[1]


def publish_folder(
    store: ArtifactStore, name: str, source: Path, tokenizer: Any, canary: list[Message], lineage: Lineage
) -> str:
    """Publish the weights of a folder unchanged; returns the manifest's digest."""

    def fill(folder: Path) -> None:
        for file in [*source.glob("*.safetensors"), *source.glob("*.safetensors.index.json")]:
            shutil.copyfile(file, folder / file.name)
        copy_other_files(source, folder)

    def describe(folder: Path) -> WeightsManifest:
        proof = make_canary(load_model(folder, torch.float32), tokenizer, canary, served_dtype(folder))
        return WeightsManifest(files={}, lineage=lineage, canary=proof)

    return store.publish(name, fill, describe)[1]


def copy_other_files(source: Path, target: Path) -> None:
    """Copy configuration and tokenizer byte for byte, so that their hashes stay the same from round to round.

    Saving them again would change them: it writes `local_files_only` into the tokenizer's configuration, the pad token
    into the generation config, and the dtype of the masters into the configuration, in place of the one to serve in.
    """
    for file in source.iterdir():
        weights = file.name.endswith(".safetensors.index.json")
        if file.suffix in _KEPT and file.name != MANIFEST_NAME and not weights:
            shutil.copyfile(file, target / file.name)
