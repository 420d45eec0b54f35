"""Makes checkpoints for the generator's tests: changed copies of the tiny model, published with a true canary."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward.contracts.base import Message
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Canary, Lineage, WeightsManifest
from services.trainer.training.canary import make_canary
from services.trainer.training.checks import load_tokenizer
from services.trainer.training.models import load_model

CANARY = [Message(role="user", content="Use 7 3 12 to make 33 .")]
CANARY_TOKENS = 6
_SURE = 1e-3


@dataclass(frozen=True)
class Greedy:
    """A greedy answer by transformers in float32; `sure`: no step was near a tie, so any correct engine agrees."""

    token_ids: list[int]
    text: str
    sure: bool


def greedy(folder: Path, prompts: list[str], tokens: int) -> list[Greedy]:
    """The first `tokens` tokens of each greedy answer, end of text not honoured."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    answers = []
    for prompt in prompts:
        chat = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        start, sure, cache = ids.shape[1], True, None
        with torch.inference_mode():
            for _ in range(tokens):
                out = model(input_ids=ids if cache is None else ids[:, -1:], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                best = out.logits[0, -1].topk(2)
                sure = sure and bool(best.values[0] - best.values[1] > _SURE)
                ids = torch.cat([ids, best.indices[:1][None]], dim=1)
        answer = ids[0, start:].tolist()
        answers.append(Greedy(answer, tokenizer.decode(answer, skip_special_tokens=True), sure))
    return answers


def copy_of(source: Path, change: Callable[[dict[str, np.ndarray]], None] | None = None) -> Callable[[Path], None]:
    """Fills a folder with the model of `source` after `change` of its tensors."""

    def fill(folder: Path) -> None:
        for file in source.iterdir():
            if file.is_file() and file.suffix != ".safetensors" and file.name != "manifest.json":
                shutil.copyfile(file, folder / file.name)
        tensors = load_file(source / "model.safetensors")
        if change is not None:
            change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return fill


def perturbed(seed: int, scale: float = 0.3) -> Callable[[dict[str, np.ndarray]], None]:
    """Adds to every matrix Gaussian noise of `scale` times its own standard deviation."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        random = np.random.default_rng(seed)
        for name in sorted(tensors):
            if tensors[name].ndim == 2:
                noise = random.standard_normal(tensors[name].shape) * tensors[name].std() * scale
                tensors[name] = (tensors[name] + noise).astype(tensors[name].dtype)

    return change


def publish(
    store: ArtifactStore,
    name: str,
    fill: Callable[[Path], None],
    canary: Canary | None = None,
    proven: bool = True,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Publish a checkpoint, to be served in `dtype`, and return its digest.

    The canary is computed unless given or `proven` is false.
    """

    def describe(folder: Path) -> WeightsManifest:
        stated = canary
        if stated is None and proven:
            stated = make_canary(load_model(folder, torch.float32), load_tokenizer(folder, CANARY), CANARY, dtype)
        return WeightsManifest(files={}, lineage=Lineage(stage="test"), canary=stated)

    return store.publish(name, fill, describe)[1]
