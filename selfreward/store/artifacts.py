"""The artifact store: rollouts, pairs, checkpoints and reports under one root, on any fsspec file system.

Names are relative POSIX paths (`runs/<run>/weights/M1`). Nothing half-written is ever visible: a file is written under
a temporary name and renamed, and a checkpoint folder exists once its manifest, which is written last, is there.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec

from selfreward.store.manifest import (
    MANIFEST_NAME,
    REMOVED_NAME,
    InvalidArtifact,
    WeightsManifest,
    describe_files,
    manifest_bytes,
    removed_text,
    verify_folder,
)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*(/[A-Za-z0-9_][A-Za-z0-9._@-]*)*")


class InvalidName(ValueError):
    """A name that is none of an artifact."""


def check_name(name: str) -> str:
    """Return `name`, or raise InvalidName if it is not a relative path of plain segments (no `..`, no leading dot)."""
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"artifact name {name!r} is not allowed: use segments of letters, digits, '.', '_', '-', '@' "
            "joined by '/', none starting with a dot"
        )
    return name


class ArtifactStore:
    """Files below one root URL (`file:///data`, a plain path, or `s3://bucket/prefix`).

    On a local root a published folder is the folder itself; on a remote one `fetch` copies it once to `cache`.
    """

    def __init__(self, root: str, cache: Path | None = None) -> None:
        self.local = urlsplit(root).scheme in ("", "file")
        if self.local:
            root = str(Path(root.removeprefix("file://")).resolve())
        self.root = root.rstrip("/")
        # A cached listing would hide what other processes write.
        options = {} if self.local else {"use_listings_cache": False}
        self.fs, self._base = fsspec.core.url_to_fs(self.root, **options)
        self._cache = cache or Path(tempfile.gettempdir()) / "selfreward-artifacts"

    def path(self, name: str) -> str:
        """The file system's path of an artifact. Raises ValueError for a name that leads out of the root."""
        path = f"{self._base}/{check_name(name)}"
        if self.local and not Path(path).resolve().is_relative_to(self._base):
            raise ValueError(f"artifact {name!r} leads out of {self.root} by a symbolic link: remove the link")
        return path

    def exists(self, name: str) -> bool:
        """Whether there is such a file, or such a folder with a manifest."""
        path = self.path(name)
        return bool(self.fs.isfile(path) or self.fs.isfile(f"{path}/{MANIFEST_NAME}"))

    def write_bytes(self, name: str, data: bytes, allowed: Callable[[], None] = lambda: None) -> None:
        """Replace a file atomically and durably.

        `allowed` is called right before the file becomes visible; if it raises, the file stays as it was.
        """
        path = self.path(name)
        if not self.local:
            allowed()
            self.fs.pipe_file(path, data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.tmp-")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644)
            allowed()
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _fsync_folder(target.parent)

    def read_bytes(self, name: str) -> bytes:
        """Content of a file; FileNotFoundError when there is none."""
        return bytes(self.fs.cat_file(self.path(name)))

    def write_json(self, name: str, data: Any, allowed: Callable[[], None] = lambda: None) -> None:
        """Replace a JSON file as `write_bytes` does."""
        self.write_bytes(name, json.dumps(data, indent=1, sort_keys=True).encode() + b"\n", allowed)

    def read_json(self, name: str) -> Any:
        """Parsed content of a JSON file."""
        return json.loads(self.read_bytes(name))

    def write_jsonl(
        self, name: str, rows: Iterable[dict[str, Any]], allowed: Callable[[], None] = lambda: None
    ) -> None:
        """Replace a JSON Lines file as `write_bytes` does."""
        self.write_bytes(name, b"".join(json.dumps(row, sort_keys=True).encode() + b"\n" for row in rows), allowed)

    def read_jsonl(self, name: str) -> Iterator[dict[str, Any]]:
        """Rows of a JSON Lines file, one at a time."""
        with self.fs.open(self.path(name), "rb") as stream:
            for line in stream:
                yield json.loads(line)

    def publish(
        self, name: str, fill: Callable[[Path], None], describe: Callable[[Path], WeightsManifest]
    ) -> tuple[WeightsManifest, str]:
        """Publish a folder under an immutable name; returns its manifest and digest.

        `fill(folder)` writes the files into an empty local folder, then `describe(folder)` gives the manifest, whose
        `files` are filled in here. A name that exists is verified and returned, so that a job that is tried again finds
        its first result. When the folder is published, what killed attempts have left behind is removed.

        Raises InvalidArtifact when the published folder is damaged.
        """
        path = self.path(name)
        if not self.exists(name):
            self._publish(name, path, fill, describe)
        if self.local:
            for abandoned in Path(path).parent.glob(f"{_temporary_prefix(name)}*"):
                shutil.rmtree(abandoned, ignore_errors=True)
        return verify_folder(self.fetch(name))

    def _publish(
        self, name: str, path: str, fill: Callable[[Path], None], describe: Callable[[Path], WeightsManifest]
    ) -> None:
        parent = Path(path).parent if self.local else self._cache
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=parent, prefix=_temporary_prefix(name)))
        try:
            fill(temporary)
            manifest = describe(temporary).model_copy(update={"files": describe_files(temporary)})
            for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
                file.chmod(0o644)  # safetensors writes 0600; the engine may run under another uid
                _fsync(file)
            (temporary / MANIFEST_NAME).write_bytes(manifest_bytes(manifest))
            _fsync(temporary / MANIFEST_NAME)
            temporary.chmod(0o755)
            self._commit(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _commit(self, temporary: Path, path: str) -> None:
        if self.local:
            _fsync_folder(temporary)
            os.rename(temporary, path)
            _fsync_folder(Path(path).parent)
            return
        for file in sorted(p for p in temporary.rglob("*") if p.is_file() and p.name != MANIFEST_NAME):
            self.fs.put_file(str(file), f"{path}/{file.relative_to(temporary).as_posix()}")
        self.fs.put_file(str(temporary / MANIFEST_NAME), f"{path}/{MANIFEST_NAME}")

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        if self.fs.exists(self.path(name)):
            self.fs.rm_file(self.path(name))

    def remove_weights(self, name: str, reason: str) -> int:
        """Delete all files of a published folder but its manifest; returns how many bytes that frees.

        A marker with the `reason` is written first, so that nobody takes the folder for damaged. Calling this again
        completes what an interrupted call has begun.
        """
        manifest = WeightsManifest.model_validate_json(self.read_bytes(f"{name}/{MANIFEST_NAME}"))
        self.write_json(f"{name}/{REMOVED_NAME}", {"reason": reason})
        freed = 0
        for file, entry in manifest.files.items():
            if self.fs.exists(self.path(f"{name}/{file}")):
                self.delete(f"{name}/{file}")
                freed += entry.size
        return freed

    def fetch(self, name: str) -> Path:
        """A local folder with the published artifact.

        Raises InvalidArtifact if it was never completely published, or if its files were removed.
        """
        path = self.path(name)
        if not self.exists(name):
            raise InvalidArtifact(
                f"artifact {name!r} does not exist under {self.root} or was never completely published"
            )
        if self.fs.isfile(f"{path}/{REMOVED_NAME}"):
            raise InvalidArtifact(removed_text(name, self.fs.cat_file(f"{path}/{REMOVED_NAME}")))
        if self.local:
            return Path(path)
        target = self._cache / name
        if not (target / MANIFEST_NAME).exists():
            self._copy(path, target)
        return target

    def _copy(self, path: str, target: Path) -> None:
        """Copy an artifact once, also when all processes of a training job ask for it at the same time."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (target / MANIFEST_NAME).exists():
                self._download(path, target)

    def _download(self, path: str, target: Path) -> None:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".fetch-"))
        try:
            self.fs.get(f"{path}/", f"{temporary}/", recursive=True)
            verify_folder(temporary)
            temporary.chmod(0o755)
            os.rename(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def forget(self, name: str) -> None:
        """Delete the cached copy of a remote artifact. A local root has no copies."""
        folder = self._cache / check_name(name)
        if not self.local and folder.exists():
            # Renamed first: a copy that is half deleted could be neither read nor replaced.
            trash = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".forgotten-"))
            os.rename(folder, trash / folder.name)
            shutil.rmtree(trash, ignore_errors=True)


def _temporary_prefix(name: str) -> str:
    return f".{PurePosixPath(name).name}.tmp-"


def _fsync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _fsync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
