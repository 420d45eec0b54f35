"""Reads and checks checkpoint folders: whether the engine that serves one can take over the weights of another."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Canary, InvalidArtifact, verify_folder
from services.generator.checkpoints.tensors import Tensor, all_finite, read_header

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_MAX_NAMED = 3
_log = logging.getLogger(__name__)
_ARCHITECTURE = (
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "max_position_embeddings",
    "sliding_window",
    "tie_word_embeddings",
    "quantization_config",
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with weights, and the label that they are served under. `version` is None before any announcement."""

    folder: Path
    label: str
    version: int | None = None
    artifact: str = ""
    digest: str = ""
    canary: Canary | None = None


@dataclass(frozen=True)
class Facts:
    """What decides whether weights fit: tensors by name, the config values that fix the model's shape, the tokenizer.

    `tokenizer` is a hash of vocabulary and chat template.
    """

    tensors: Mapping[str, Tensor]
    architecture: Mapping[str, Any]
    tokenizer: str


def validate(folder: Path, label: str, serving: Facts | None, expected_digest: str = "") -> tuple[Checkpoint, Facts]:
    """Check a published folder against its manifest, and against the facts of what is served (None: nothing yet).

    Returns the checkpoint and its facts. Raises InvalidArtifact, which says what is wrong and what to do.
    """
    manifest, digest = verify_folder(folder)
    if expected_digest and digest != expected_digest:
        raise InvalidArtifact(
            f"{folder}: manifest digest is {digest[:12]}, announced was {expected_digest[:12]}; announce it again"
        )
    facts = read_facts(folder)
    if serving is not None:
        compare(facts, serving, folder)
    check_finite(facts)
    return Checkpoint(folder=folder.resolve(), label=label, digest=digest, canary=manifest.canary), facts


def check_again(store: ArtifactStore, served: Checkpoint, facts: Facts) -> None:
    """Raise InvalidArtifact where a served folder is no more what it was. A damaged copy is fetched again first.

    A plain folder without a manifest has nothing that it could be checked by.
    """
    if not served.digest:
        return
    try:
        validate(served.folder, served.label, facts, served.digest)
    except InvalidArtifact as damage:
        if store.local or not served.artifact:
            raise
        _log.error("the copy of the weights is damaged: it is fetched again", extra={"reason": str(damage)})
        store.forget(served.artifact)
        validate(store.fetch(served.artifact), served.label, facts, served.digest)


def compare(new: Facts, serving: Facts, folder: Path) -> None:
    """Raise InvalidArtifact unless `new` has the same architecture, tokenizer, tensor names and shapes."""
    # Architecture: a value that only one side states is a default of the other's writer.
    for name in sorted(set(new.architecture) & set(serving.architecture)):
        if new.architecture[name] != serving.architecture[name]:
            raise InvalidArtifact(
                f"{folder}: config {name} = {new.architecture[name]!r}, served is {serving.architecture[name]!r}; "
                "another architecture needs its own generator: start one with this model"
            )
    if new.tokenizer != serving.tokenizer:
        raise InvalidArtifact(
            f"{folder}: its tokenizer or chat template is not the served one; publish with the base model's tokenizer "
            "files, or start another generator with this model"
        )
    # Tensors, by name and shape.
    missing = sorted(set(serving.tensors) - set(new.tensors))
    extra = sorted(set(new.tensors) - set(serving.tensors))
    if missing or extra:
        parts = [f"{kind} {_few(names)}" for kind, names in (("missing", missing), ("unexpected", extra)) if names]
        raise InvalidArtifact(f"{folder}: tensors {' and '.join(parts)}; save the whole model under its usual names")
    for name, tensor in new.tensors.items():
        if tensor.shape != serving.tensors[name].shape:
            raise InvalidArtifact(
                f"{folder}: tensor {name!r} has shape {list(tensor.shape)}, served is "
                f"{list(serving.tensors[name].shape)}; publish weights of the model that is served"
            )


def check_finite(facts: Facts) -> None:
    """Raise InvalidArtifact, which names the first tensor with a NaN or an infinity."""
    for name, tensor in facts.tensors.items():
        if not all_finite(tensor):
            raise InvalidArtifact(
                f"{tensor.file}: tensor {name!r} has NaN or infinite values; training diverged, "
                "publish an earlier checkpoint"
            )


def read_facts(folder: Path) -> Facts:
    """Read config, tokenizer and tensor headers of a folder. Raises InvalidArtifact, which names what is wrong."""
    config = read_json(folder / "config.json")
    tensors = read_tensors(folder)
    if config.get("tie_word_embeddings"):
        # A tied head is the embedding under a second name, which some writers leave out.
        tensors.pop("lm_head.weight", None)
    return Facts(tensors, architecture(config), tokenizer_fingerprint(folder))


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InvalidArtifact when there is none."""
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise InvalidArtifact(f"{file} is missing; publish the checkpoint again") from None
    except ValueError as error:
        raise InvalidArtifact(f"{file} is not JSON ({error}); publish the checkpoint again") from error
    if not isinstance(data, dict):
        raise InvalidArtifact(f"{file} is not a JSON object; publish the checkpoint again")
    return data


def served_dtype(folder: Path) -> str:
    """The dtype to serve a folder in, by its config.json; `float32` where it does not say or there is none."""
    if not (folder / "config.json").exists():
        return "float32"
    config = read_json(folder / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Tensors of all shards, by name. Raises InvalidArtifact for a shard that is missing, broken or not as indexed."""
    if not (folder / _INDEX).exists():
        if not (folder / _SINGLE).exists():
            raise InvalidArtifact(f"{folder} has neither {_SINGLE} nor {_INDEX}; publish the checkpoint again")
        return read_header(folder / _SINGLE)
    weight_map = read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidArtifact(f"{folder / _INDEX} has no weight_map; publish the checkpoint again")
    tensors: dict[str, Tensor] = {}
    for shard in sorted({str(name) for name in weight_map.values()}):
        file = folder / Path(shard).name
        if not file.exists():
            raise InvalidArtifact(f"{folder}: shard {shard} is missing; publish the checkpoint again")
        tensors |= read_header(file)
    if lost := sorted(set(weight_map) - set(tensors)):
        raise InvalidArtifact(f"{folder}: no shard holds {_few(lost)}, which the index lists; publish again")
    return tensors


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config values that decide how tensors are used. Rotary settings have one form, whatever their spelling."""
    values = {name: config[name] for name in _ARCHITECTURE if config.get(name) is not None}
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    if "rope_theta" in config:
        rope.setdefault("rope_theta", config["rope_theta"])
    if rope.get("rope_type", "default") == "default":
        rope.pop("rope_type", None)
    return values | {f"rope.{name}": value for name, value in rope.items()}


def tokenizer_fingerprint(folder: Path) -> str:
    """SHA-256 over vocabulary, rules and chat template.

    Not covered is what a trainer changes without changing the tokenizer: `truncation` and `padding` in tokenizer.json,
    and the rest of tokenizer_config.json.
    """
    digest = hashlib.sha256()
    if (folder / "tokenizer.json").exists():
        tokenizer = read_json(folder / "tokenizer.json")
        kept = {name: value for name, value in tokenizer.items() if name not in ("truncation", "padding")}
        digest.update(json.dumps(kept, sort_keys=True).encode())
    else:
        for name in ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt"):
            if (folder / name).exists():
                digest.update(name.encode() + (folder / name).read_bytes())
    template = folder / "chat_template.jinja"
    if template.exists():
        digest.update(template.read_bytes())
    elif (folder / "tokenizer_config.json").exists():
        inline = read_json(folder / "tokenizer_config.json").get("chat_template")
        digest.update((inline if isinstance(inline, str) else json.dumps(inline) if inline else "").encode())
    return digest.hexdigest()


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
