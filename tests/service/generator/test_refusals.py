"""Checkpoints that must not be served: each is refused with its reason while the old weights serve on."""

import asyncio
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from selfreward.client.generator import VERSION_HEADER
from selfreward.redis.announcements import Announced
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import read_manifest
from tests.support.checkpoints import CANARY, CANARY_TOKENS, copy_of, greedy, perturbed, publish
from tests.support.live_generator import Generator, announce_now
from tests.support.pickles import PICKLES, Bomb

Tensors = dict[str, np.ndarray]
NORM = "model.norm.weight"


def answer(generator: Generator) -> tuple[str, list[int]]:
    """Version and first token ids of the greedy answer to the canary prompt."""
    body = {
        "model": "policy",
        "messages": [message.model_dump() for message in CANARY],
        "temperature": 0,
        "max_tokens": CANARY_TOKENS,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    reply = generator.http.post("/v1/chat/completions", json=body).raise_for_status()
    return reply.headers[VERSION_HEADER], reply.json()["choices"][0]["token_ids"]


@pytest.fixture(scope="module")
def good(generator: Generator, tiny_model: Path) -> Iterator[tuple[str, list[int]]]:
    """Label of good weights, announced and served, and their greedy answer."""
    store = ArtifactStore(generator.artifacts)
    announced = announce_now(generator, "refusals/good", publish(store, "refusals/good", copy_of(tiny_model)))
    generator.wait_for(announced.label)
    ids = greedy(store.fetch("refusals/good"), [CANARY[0].content], CANARY_TOKENS)[0].token_ids
    yield announced.label, ids
    # Later tests start from weights that are announced, served and good. What a test has pushed stays until something
    # else is announced, so these are pushed too.
    announce_now(generator, announced.artifact, announced.digest)
    generator.http.post("/admin/weights", json=announced.model_dump()).raise_for_status()
    generator.wait_for(announced.label)


def refusal_of(generator: Generator, announced: Announced) -> str:
    """The reason that the generator gives, once it has one."""
    for _ in range(600):
        for entry in generator.weights()["refused"]:
            if entry["label"] == announced.label:
                return str(entry["reason"])
        asyncio.run(asyncio.sleep(0.05))
    raise AssertionError(generator.weights())


def nan(tensors: Tensors) -> None:
    tensors[NORM] = tensors[NORM].copy()
    tensors[NORM][3] = np.nan


def infinite(tensors: Tensors) -> None:
    tensors[NORM] = tensors[NORM].copy()
    tensors[NORM][3] = -np.inf


def shorter(tensors: Tensors) -> None:
    tensors[NORM] = tensors[NORM][:-1].copy()


def without_a_layer(tensors: Tensors) -> None:
    for name in [name for name in tensors if name.startswith("model.layers.1.")]:
        del tensors[name]


def with_one_more(tensors: Tensors) -> None:
    tensors["model.layers.99.weight"] = tensors[NORM].copy()


def missing_shard(source: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        copy_of(source)(folder)
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        weight_map = {NORM: "model-00001-of-00002.safetensors", "lm_head.weight": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return fill


def truncated(source: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        copy_of(source)(folder)
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-4096])

    return fill


def other_tokenizer(source: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        copy_of(source)(folder)
        file = folder / "tokenizer.json"
        tokenizer = json.loads(file.read_text())
        vocabulary = tokenizer["model"]["vocab"]
        vocabulary["7"], vocabulary["8"] = vocabulary["8"], vocabulary["7"]
        file.write_text(json.dumps(tokenizer))

    return fill


def other_config(source: Path) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        copy_of(source)(folder)
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "num_attention_heads": 2}))

    return fill


POISONED = {
    "missing-shard": (missing_shard, "shard model-00002-of-00002.safetensors is missing"),
    "wrong-shape": (lambda source: copy_of(source, shorter), f"tensor '{NORM}' has shape [127], served is [128]"),
    "nan": (lambda source: copy_of(source, nan), f"tensor '{NORM}' has NaN or infinite values"),
    "infinite": (lambda source: copy_of(source, infinite), f"tensor '{NORM}' has NaN or infinite values"),
    "truncated": (truncated, "truncated"),
    "other-tokenizer": (other_tokenizer, "tokenizer or chat template is not the served one"),
    "other-config": (other_config, "config num_attention_heads = 2, served is 4"),
    "missing-layer": (lambda source: copy_of(source, without_a_layer), "missing model.layers.1."),
    "extra-tensor": (lambda source: copy_of(source, with_one_more), "unexpected model.layers.99.weight"),
}


@pytest.mark.parametrize("name", POISONED)
def test_poisoned_checkpoint_is_refused_before_the_engine_is_touched(
    generator: Generator, good: tuple[str, list[int]], tiny_model: Path, name: str
) -> None:
    fill, reason = POISONED[name]
    store, artifact = ArtifactStore(generator.artifacts), f"refusals/{name}"
    before = generator.weights()
    announced = announce_now(generator, artifact, publish(store, artifact, fill(tiny_model), proven=False))
    assert reason in refusal_of(generator, announced)
    assert answer(generator) == good
    after = generator.weights()
    assert (after["label"], after["swaps"], after["state"]) == (good[0], before["swaps"], "serving")
    assert generator.ready()


def test_files_changed_after_publishing_are_refused(
    generator: Generator, good: tuple[str, list[int]], tiny_model: Path
) -> None:
    store = ArtifactStore(generator.artifacts)
    digest = publish(store, "refusals/changed", copy_of(tiny_model, perturbed(seed=5)), proven=False)
    file = store.fetch("refusals/changed") / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    announced = announce_now(generator, "refusals/changed", digest)
    assert "model.safetensors does not match its SHA-256" in refusal_of(generator, announced)
    shutil.rmtree(store.fetch("refusals/changed"))
    announced = announce_now(generator, "refusals/changed", "0" * 64)
    assert "does not exist" in refusal_of(generator, announced)
    assert answer(generator) == good


def test_pickles_beside_the_weights_are_not_loaded(
    generator: Generator, good: tuple[str, list[int]], tiny_model: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "it-ran"

    def fill(folder: Path) -> None:
        copy_of(tiny_model, perturbed(seed=8))(folder)
        for name in PICKLES:
            (folder / name).write_bytes(pickle.dumps(Bomb(mark)))

    store = ArtifactStore(generator.artifacts)
    announced = announce_now(generator, "refusals/pickles", publish(store, "refusals/pickles", fill))
    generator.wait_for(announced.label)
    assert answer(generator)[0] == announced.label
    assert not mark.exists()
    announce_now(generator, "refusals/good", publish(store, "refusals/good", copy_of(tiny_model)))
    generator.wait_for(good[0])


def one_layer_wrong(tensors: Tensors) -> None:
    """A layer whose output is lost, as a reload that skips a tensor leaves it."""
    tensors["model.layers.1.mlp.down_proj.weight"] = np.zeros_like(tensors["model.layers.1.mlp.down_proj.weight"])


def two_layers_swapped(tensors: Tensors) -> None:
    first, second = (f"model.layers.{layer}.self_attn.o_proj.weight" for layer in (0, 1))
    tensors[first], tensors[second] = tensors[second], tensors[first]


WRONG = {"noise": perturbed(seed=6, scale=2.0), "one-layer": one_layer_wrong, "swapped": two_layers_swapped}


@pytest.mark.parametrize("name", WRONG)
def test_failed_canary_rolls_back(
    generator: Generator, good: tuple[str, list[int]], tiny_model: Path, name: str
) -> None:
    """Weights that load and are not what the trainer had: only the canary shows it, and the old ones come back."""
    store = ArtifactStore(generator.artifacts)
    canary = read_manifest(store.fetch("refusals/good"))[0].canary
    digest = publish(store, f"refusals/canary-{name}", copy_of(tiny_model, WRONG[name]), canary=canary)
    reply = generator.http.post(
        "/admin/weights", json={"version": 4000, "artifact": f"refusals/canary-{name}", "digest": digest}
    )
    assert reply.status_code == 422
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("artifact", "weights_refused")
    assert "nats from those published" in error["message"]
    assert f"{good[0]} serves on" in error["message"]
    assert answer(generator) == good
    assert generator.ready()


def test_weights_can_be_pushed_without_an_announcement(
    generator: Generator, good: tuple[str, list[int]], tiny_model: Path
) -> None:
    store = ArtifactStore(generator.artifacts)
    digest = publish(store, "refusals/pushed", copy_of(tiny_model, perturbed(seed=7)))
    pushed = {"version": 4001, "artifact": "refusals/pushed", "digest": digest}
    assert generator.http.post("/admin/weights", json=pushed).raise_for_status().json()["label"] == "policy@4001"
    assert answer(generator)[0] == "policy@4001"
    assert generator.ready()
