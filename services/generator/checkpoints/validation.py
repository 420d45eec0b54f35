"""Decides whether a folder's weights may be given to the running engine, before the engine is touched.

The engine's own reload is not atomic: a wrong shape or a truncated file leaves it broken, and a checkpoint that lacks
a layer is taken silently. So everything that can be known from the folder is checked here.
"""

from pathlib import Path

from selfreward.store.manifest import InvalidArtifact, verify_folder
from services.generator.checkpoints.checkpoint import Checkpoint, Facts, read_facts
from services.generator.checkpoints.tensors import all_finite

_SHOWN = 3


def validate(folder: Path, label: str, serving: Facts | None, expected_digest: str = "") -> tuple[Checkpoint, Facts]:
    """Check a published folder against its manifest and against what is served (None: nothing yet).

    Returns what it is and its facts. Raises InvalidArtifact saying what was found and what to do.
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


def compare(new: Facts, serving: Facts, folder: Path) -> None:
    """Raise InvalidArtifact unless `new` has the same architecture, tokenizer, tensor names and shapes."""
    # A value that only one side states is a default of the other's writer.
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
    missing = sorted(set(serving.tensors) - set(new.tensors))
    extra = sorted(set(new.tensors) - set(serving.tensors))
    if missing or extra:
        parts = [
            f"{kind} {', '.join(names[:_SHOWN])} ({len(names)} in all)"
            for kind, names in (("missing", missing), ("unexpected", extra))
            if names
        ]
        raise InvalidArtifact(f"{folder}: tensors {' and '.join(parts)}; save the whole model under its usual names")
    for name, tensor in new.tensors.items():
        if tensor.shape != serving.tensors[name].shape:
            raise InvalidArtifact(
                f"{folder}: tensor {name!r} has shape {list(tensor.shape)}, served is "
                f"{list(serving.tensors[name].shape)}; publish weights of the model that is served"
            )


def check_finite(facts: Facts) -> None:
    """Raise InvalidArtifact naming the first tensor with a NaN or an infinity."""
    for name, tensor in facts.tensors.items():
        if not all_finite(tensor):
            raise InvalidArtifact(
                f"{tensor.file}: tensor {name!r} has NaN or infinite values; training diverged, "
                "publish an earlier checkpoint"
            )
