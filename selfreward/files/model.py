"""Copy a model of a run out of the artifact store."""

import shutil
import tempfile
from pathlib import Path

from selfreward.files.rows import RowError
from selfreward.loop import paths
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import InvalidArtifact, verify_folder


def copy_model(store: ArtifactStore, run: str, model: str, folder: Path) -> int:
    """Copy the checkpoint of `model`, checked file by file, to `folder`, which appears when it is complete.

    Returns its bytes. Raises RowError if the folder exists or there is no such model, naming those that there are.
    """
    if folder.exists():
        raise RowError(f"--out {folder} exists: give a new folder")
    name = paths.weights(run, model)
    if not store.exists(name):
        record = paths.record(run)
        known = [entry["name"] for entry in store.read_json(record)["models"]] if store.exists(record) else []
        remedy = f"it has {', '.join(known)}" if known else f"no such run is below {store.root}, give --artifacts"
        raise RowError(f"run {run!r} has no model {model!r}: {remedy}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        partial = Path(scratch) / "model"
        try:
            shutil.copytree(store.fetch(name), partial)
            manifest, _ = verify_folder(partial)
        except InvalidArtifact as error:
            raise RowError(str(error)) from error
        partial.rename(folder)
    return sum(entry.size for entry in manifest.files.values())
