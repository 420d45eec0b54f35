"""The artifact store: nothing half-written is ever read, nothing leaves its root."""

import hashlib
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import MANIFEST_NAME, InvalidArtifact, verify_folder
from tests.support.places import ROOT
from tests.support.small_weights import describe, fill


@pytest.fixture(params=["local", "memory", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store on the local file system, one on a remote-like file system without rename, and one in a bucket."""
    if request.param == "bucket":
        return ArtifactStore(request.getfixturevalue("bucket"), cache=tmp_path / "cache")
    if request.param == "local":
        return ArtifactStore(str(tmp_path / "store"))
    return ArtifactStore(f"memory://{tmp_path.name}", cache=tmp_path / "cache")


def test_publish_then_fetch_gives_verified_readable_files(store: ArtifactStore) -> None:
    manifest, digest = store.publish("runs/a/weights/M1", fill, describe)
    folder = store.fetch("runs/a/weights/M1")
    assert set(manifest.files) == {"model.safetensors", "sub/extra.json"}
    assert verify_folder(folder) == (manifest, digest)
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_published_files_are_readable_by_another_user(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    store.publish("w", fill, describe)
    for path in (tmp_path / "w", tmp_path / "w" / "model.safetensors"):
        assert path.stat().st_mode & stat.S_IROTH


def test_publishing_a_name_twice_keeps_the_first(store: ArtifactStore) -> None:
    first = store.publish("w", fill, describe)

    def other(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"different")

    assert store.publish("w", other, describe) == first
    assert (store.fetch("w") / "model.safetensors").read_bytes() == b"weights"


def test_a_failed_publish_leaves_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))

    def die(folder: Path) -> None:
        fill(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.publish("runs/w", die, describe)
    assert not store.exists("runs/w")
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_killed_publisher_left_is_never_visible_and_goes_with_the_next_success(tmp_path: Path) -> None:
    program = (
        "import sys, time; from selfreward.store.artifacts import ArtifactStore\n"
        "from tests.support.small_weights import describe, fill\n"
        "def slow(folder):\n    fill(folder)\n    print('filled', flush=True)\n    time.sleep(60)\n"
        "ArtifactStore(sys.argv[1]).publish('runs/w', slow, describe)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == b"filled\n"
        publisher.kill()
    store = ArtifactStore(str(tmp_path))
    assert [path.name.startswith(".w.tmp-") for path in (tmp_path / "runs").iterdir()] == [True]
    assert not store.exists("runs/w")
    store.publish("runs/w2", fill, describe)
    store.publish("runs/w", fill, describe)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["w", "w2"]


def test_a_folder_without_a_manifest_does_not_exist(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    fill_into = tmp_path / "w"
    fill_into.mkdir()
    fill(fill_into)
    assert not store.exists("w")
    with pytest.raises(InvalidArtifact, match="never completely published"):
        store.fetch("w")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "has 5 bytes, its manifest says 7"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"WEIGHTS"), "does not match its SHA-256"),
        (lambda folder: (folder / MANIFEST_NAME).write_text("{"), "is not a manifest"),
        (lambda folder: (folder / MANIFEST_NAME).unlink(), "never completely published"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    ArtifactStore(str(tmp_path)).publish("w", fill, describe)
    damage(tmp_path / "w")
    with pytest.raises(InvalidArtifact, match=message):
        verify_folder(tmp_path / "w")


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../b", "a//b", ".hidden", "a/.tmp", "", "a/", "a b", "a\nb", "a\n", "a/..", "\\x"],
)
def test_names_cannot_leave_the_root(store: ArtifactStore, name: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        store.write_bytes(name, b"")


def test_jsonl_round_trips(store: ArtifactStore) -> None:
    rows: list[dict[str, Any]] = [{"a": 1}, {"b": "ü\n"}]
    store.write_jsonl("x/rows.jsonl", rows)
    assert list(store.read_jsonl("x/rows.jsonl")) == rows
    store.write_json("x/one.json", {"k": [1, 2]})
    assert store.read_json("x/one.json") == {"k": [1, 2]}


def test_links_cannot_leave_the_root(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "store"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text("{}")
    (Path(store.root) / "runs").mkdir(parents=True)
    (Path(store.root) / "runs" / "out").symlink_to(outside)
    (Path(store.root) / "runs" / "file.json").symlink_to(outside / "secret.json")
    (Path(store.root) / "runs" / "in").symlink_to(Path(store.root) / "runs")

    calls: list[Callable[[], object]] = [
        lambda: store.read_json("runs/out/secret.json"),
        lambda: store.read_json("runs/file.json"),
        lambda: store.exists("runs/out/secret.json"),
        lambda: store.write_bytes("runs/out/new", b""),
        lambda: store.fetch("runs/out"),
        lambda: store.publish("runs/out/w", fill, describe),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="by a symbolic link"):
            call()
    assert [path.name for path in outside.iterdir()] == ["secret.json"]
    store.write_bytes("runs/in/own", b"1")
    assert store.read_bytes("runs/own") == b"1"


def test_removed_weights_leave_their_manifest_and_a_clear_error(store: ArtifactStore) -> None:
    _, digest = store.publish("w", fill, describe)
    size = store.remove_weights("w", "to make room")
    assert size == len(b"weights") + len("{}")
    assert store.remove_weights("w", "to make room") == 0
    with pytest.raises(InvalidArtifact, match=r"^w: its weights were removed \(to make room\), only the manifest"):
        store.fetch("w")
    with pytest.raises(InvalidArtifact, match="were removed"):
        store.publish("w", fill, describe)
    assert hashlib.sha256(store.read_bytes(f"w/{MANIFEST_NAME}")).hexdigest() == digest
    assert not store.exists("w/model.safetensors")


def test_a_reader_in_the_folder_itself_is_told_of_the_removal(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path))
    store.publish("w", fill, describe)
    store.remove_weights("w", "to make room")
    with pytest.raises(InvalidArtifact, match="were removed"):
        verify_folder(tmp_path / "w")
