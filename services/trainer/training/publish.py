"""Publishes trained weights: safetensors, the parent's other files verbatim, lineage and a canary. No pickles."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfreward.contracts.base import Message
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, Canary, Lineage, WeightsManifest
from services.trainer.training.checks import JobRefused, render
from services.trainer.training.models import load_model

CANARY_TOKENS = 8
# Where the two best tokens are this close, another engine's rounding may choose the other one.
CLEAR_LEAD = 0.01
_KEPT = (".json", ".jinja", ".model", ".txt", ".tiktoken")


def publish_model(
    store: ArtifactStore, name: str, model: Any, parent: Path, tokenizer: Any, canary: list[Message], lineage: Lineage
) -> str:
    """Publish trained weights; returns the manifest's digest.

    Raises JobRefused for weights with NaN or infinite values: another attempt would give them again.
    """
    for tensor, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise JobRefused(f"training diverged, {tensor} is not finite: lower learning_rate or max_grad_norm")

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        copy_other_files(parent, folder)

    return _publish(store, name, fill, tokenizer, canary, lineage)


def publish_folder(
    store: ArtifactStore, name: str, source: Path, tokenizer: Any, canary: list[Message], lineage: Lineage
) -> str:
    """Publish the weights of a folder unchanged; returns the manifest's digest."""

    def fill(folder: Path) -> None:
        for file in [*source.glob("*.safetensors"), *source.glob("*.safetensors.index.json")]:
            shutil.copyfile(file, folder / file.name)
        copy_other_files(source, folder)

    return _publish(store, name, fill, tokenizer, canary, lineage)


def _publish(
    store: ArtifactStore,
    name: str,
    fill: Callable[[Path], None],
    tokenizer: Any,
    canary: list[Message],
    lineage: Lineage,
) -> str:
    def describe(folder: Path) -> WeightsManifest:
        ids = canary_ids(load_model(folder, torch.float32), tokenizer, canary)
        return WeightsManifest(files={}, lineage=lineage, canary=Canary(messages=canary, token_ids=ids))

    return store.publish(name, fill, describe)[1]


def copy_other_files(source: Path, target: Path) -> None:
    """Copy configuration and tokenizer byte for byte, so that their hashes stay the same from round to round.

    Saving them again would change them: it writes `local_files_only` into the tokenizer's configuration and the pad
    token into the generation config.
    """
    for file in source.iterdir():
        weights = file.name.endswith(".safetensors.index.json")
        if file.suffix in _KEPT and file.name != MANIFEST_NAME and not weights:
            shutil.copyfile(file, target / file.name)


def canary_ids(model: Any, tokenizer: Any, messages: list[Message]) -> list[int]:
    """The first greedy token ids, at most 8, up to the end of the answer or to a choice that is too close to call."""
    ids = render(tokenizer, messages, answer_next=True)
    greedy: list[int] = []
    model.eval()
    with torch.inference_mode():
        while len(greedy) < CANARY_TOKENS:
            logits = model(torch.tensor([ids + greedy], device=model.device)).logits[0, -1]
            best, second = torch.topk(logits, 2).values.tolist()
            if greedy and best - second < CLEAR_LEAD:
                break
            greedy.append(int(logits.argmax()))
            if greedy[-1] == tokenizer.eos_token_id:
                break
    return greedy
