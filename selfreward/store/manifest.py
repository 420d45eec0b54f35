"""The manifest of a published checkpoint: the files of the folder, byte for byte, and where the weights come from."""

import hashlib
import json
from pathlib import Path

from pydantic import Field

from selfreward.contracts.base import Contract, Message

MANIFEST_NAME = "manifest.json"
REMOVED_NAME = "removed.json"
"""File beside a manifest whose files have been deleted on purpose; it says why."""
_CHUNK = 1 << 20


class FileEntry(Contract):
    """Size in bytes and lower-case hex SHA-256 of one file."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Lineage(Contract):
    """Where weights come from: run, stage, parent checkpoint, and the data that they were trained on."""

    run: str = ""
    stage: str
    parent: str | None = None
    parent_digest: str | None = None
    datasets: list[str] = []
    method: str = "base"
    recipe_hash: str = ""
    seed: int = 0


class Canary(Contract):
    """A prompt, the beginning of an answer to it, and what these weights say at each place of that answer.

    `token_ids` are the first tokens of the greedy answer in float32. `candidates` has for each of them the likeliest
    token ids at its place, given the prompt and the tokens before it, with their log-probabilities in nats. The serving
    engine must give these, but for a root mean square difference of `tolerance` nats, before it takes traffic. Only
    this check catches weights that load without an error and are still wrong.

    Manifests of version 0.2.0 and before have no `candidates`: their weights are served unproven.
    """

    messages: list[Message]
    token_ids: list[int] = Field(min_length=1)
    candidates: list[dict[int, float]] = []
    tolerance: float = Field(default=0.0, ge=0)


class WeightsManifest(Contract):
    """The manifest, which is written last into a checkpoint folder: a folder without it counts as absent.

    `update_kept` is the share of the training's update that weights keep which are served in the dtype of config.json,
    by the projection of one update on the other; None where nothing was trained.
    """

    format: int = 1
    files: dict[str, FileEntry]
    lineage: Lineage
    canary: Canary | None = None
    update_kept: float | None = None


class InvalidArtifact(ValueError):
    """A folder differs from its manifest. The message names the file, the difference and the remedy."""


def hash_file(path: Path) -> FileEntry:
    """Size and SHA-256 of a file, read once in 1 MiB pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size=size, sha256=digest.hexdigest())


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Entries of all files below `folder` except the manifest, by their relative POSIX paths."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hash_file(path)
        for path in files
        if path.relative_to(folder).as_posix() != MANIFEST_NAME
    }


def manifest_bytes(manifest: WeightsManifest) -> bytes:
    """Canonical JSON of a manifest; its SHA-256 is the checkpoint's digest."""
    data = manifest.model_dump(mode="json")
    return json.dumps(data, sort_keys=True, indent=1, ensure_ascii=True).encode()


def read_manifest(folder: Path) -> tuple[WeightsManifest, str]:
    """The manifest of a folder and its digest (hex SHA-256 of the manifest's bytes).

    Raises InvalidArtifact when there is none or it cannot be read.
    """
    path = folder / MANIFEST_NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise InvalidArtifact(
            f"{folder} has no {MANIFEST_NAME}: it was never completely published; publish it again"
        ) from None
    try:
        manifest = WeightsManifest.model_validate_json(raw)
    except ValueError as error:
        raise InvalidArtifact(f"{path} is not a manifest: {error}") from error
    return manifest, hashlib.sha256(raw).hexdigest()


def removed_text(name: str, marker: bytes) -> str:
    """The error text for an artifact whose files have been deleted; `marker` is the content of its `REMOVED_NAME`."""
    reason = json.loads(marker)["reason"]
    return f"{name}: its weights were removed ({reason}), only the manifest is kept; use a model that has its weights"


def verify_folder(folder: Path) -> tuple[WeightsManifest, str]:
    """Check every file of a published folder against its manifest; returns the manifest and its digest.

    Raises InvalidArtifact, which names the first file that is missing or has another size or content.
    """
    manifest, digest = read_manifest(folder)
    if (folder / REMOVED_NAME).exists():
        raise InvalidArtifact(removed_text(str(folder), (folder / REMOVED_NAME).read_bytes()))
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidArtifact(f"{folder}: manifest names {name!r}, which leaves the folder; publish it again")
        if not path.is_file():
            raise InvalidArtifact(f"{folder}: {name} is missing; publish the checkpoint again")
        size = path.stat().st_size
        if size != entry.size:
            raise InvalidArtifact(f"{folder}: {name} has {size} bytes, its manifest says {entry.size}; publish again")
        if hash_file(path).sha256 != entry.sha256:
            raise InvalidArtifact(f"{folder}: {name} does not match its SHA-256; publish the checkpoint again")
    return manifest, digest
