"""A disk that is really full: publishing on a small file system of the test's own."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfreward.server.disk import is_full, shortage
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import Lineage, WeightsManifest
from tests.support.disk import DISK_BYTES


def publish(store: ArtifactStore, size: int) -> None:
    def write(folder: Path) -> None:
        save_file({"w": np.zeros(size, dtype=np.uint8)}, folder / "model.safetensors")

    store.publish("runs/a/weights/M1", write, lambda _: WeightsManifest(files={}, lineage=Lineage(stage="M1")))


def test_a_publish_on_a_full_disk_leaves_nothing_and_works_once_there_is_room(disk: Path) -> None:
    """The writer of the weights is not Python, and its error is no OSError of Python's making."""
    store = ArtifactStore(str(disk))
    with pytest.raises(Exception, match="No space left on device") as error:
        publish(store, 2 * DISK_BYTES)
    assert is_full(error.value)
    assert not store.exists("runs/a/weights/M1")
    assert list((disk / "runs/a/weights").iterdir()) == []
    publish(store, DISK_BYTES // 2)
    assert store.exists("runs/a/weights/M1")


def test_a_file_that_does_not_fit_leaves_the_old_one(disk: Path) -> None:
    store = ArtifactStore(str(disk))
    store.write_bytes("a.json", b"old")
    with pytest.raises(OSError, match="No space left on device") as error:
        store.write_bytes("a.json", b"x" * (2 * DISK_BYTES))
    assert is_full(error.value)
    assert store.read_bytes("a.json") == b"old"
    assert [path.name for path in disk.iterdir()] == ["a.json"]


def test_the_shortage_names_place_and_remedy(disk: Path) -> None:
    assert shortage([disk / "not" / "made"], 4) is None
    assert shortage([disk], 5) == (
        f"disk: 4 MiB free below 5 at {disk}; free some or lower min_free_disk (SELFREWARD_MIN_FREE_DISK)"
    )
