"""Artifacts in a bucket, where other processes write and several fetch at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, verify_folder
from tests.support.small_weights import describe, fill


def test_what_another_process_writes_is_seen_after_its_folder_was_listed(bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(bucket, tmp_path)
    store.write_json("runs/a/run.json", {})
    assert not store.exists("runs/a/pairs.jsonl")
    assert len(store.fs.find(store.path("runs/a"))) == 1
    place = store.path("runs/a/pairs.jsonl")
    httpx.put(f"{os.environ['AWS_ENDPOINT_URL']}/{place}", content=b"{}\n", timeout=30).raise_for_status()
    assert store.exists("runs/a/pairs.jsonl")
    assert list(store.read_jsonl("runs/a/pairs.jsonl")) == [{}]


def test_a_folder_becomes_real_with_its_manifest(bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(bucket, tmp_path)
    store.write_bytes("runs/a/weights/M1/model.safetensors", b"half")
    assert not store.exists("runs/a/weights/M1")
    _, digest = store.publish("runs/a/weights/M1", fill, describe)
    assert store.exists("runs/a/weights/M1")
    assert verify_folder(ArtifactStore(bucket, tmp_path / "other").fetch("runs/a/weights/M1"))[1] == digest


def test_of_those_that_share_a_cache_one_copies(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of one training job ask at once."""
    ArtifactStore(bucket, tmp_path / "own").publish("w", fill, describe)
    shared, copied = ArtifactStore(bucket, tmp_path / "shared"), []
    get = shared.fs.get

    def counted(*given: Any, **more: Any) -> Any:
        copied.append(given)
        return get(*given, **more)

    monkeypatch.setattr(shared.fs, "get", counted)
    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(lambda _: shared.fetch("w"), range(8)))
    assert folders == {tmp_path / "shared" / "w"}
    assert len(copied) == 1
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == [".w.lock", "w"]


def test_a_forgotten_copy_is_fetched_again(bucket: str, tmp_path: Path) -> None:
    store = ArtifactStore(bucket, tmp_path / "cache")
    store.publish("runs/w", fill, describe)
    folder = store.fetch("runs/w")
    store.forget("runs/w")
    assert not folder.exists()
    assert (store.fetch("runs/w") / MANIFEST_NAME).is_file()
    local = ArtifactStore(str(tmp_path / "local"))
    local.publish("w", fill, describe)
    local.forget("w")
    assert local.exists("w")
