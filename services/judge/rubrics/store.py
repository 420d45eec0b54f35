"""Rubrics that are added over HTTP: checked like files, then stored as a folder.

A stored text never changes: each version has a folder of its own in `.versions`, and the rubric's name is a link to the
newest. Replacing the link is atomic, so a reader sees the whole old rubric or the whole new one.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import Field

from services.judge.rubrics.rubric import SHIPPED, Rubric, RubricError, check_engines, compile_rubric, load_rubric
from services.judge.rubrics.spec import RubricSpec

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")
_VERSIONS = ".versions"


class RubricTaken(RubricError):
    """The rubric's name belongs to a rubric that must not be replaced."""


class RubricBody(RubricSpec):
    """Body of `PUT /v1/rubrics/{name}`: the fields of `rubric.toml`, and the texts of `template.txt` and `argue.txt`.

    Only a rubric of kind `debate` has `argue`.
    """

    template: str = Field(min_length=1, max_length=200_000)
    argue: str | None = Field(default=None, min_length=1, max_length=200_000)


def store_rubric(folder: Path, name: str, body: RubricBody, engines: Collection[str] = ()) -> Rubric:
    """Write a rubric into `folder`. Replaces an earlier one of that name that was added over HTTP.

    `engines` are the names that it may have for its jury.

    Raises RubricError naming the field, RubricTaken for a shipped name and for a folder that somebody made by hand.
    """
    # Check the name.
    if not _NAME.fullmatch(name):
        raise RubricError(f"name = {name!r}: use 1 to 64 of a-z, 0-9, - and _, a letter or digit first", "name")
    if (SHIPPED / name).exists():
        raise RubricTaken(f"name = {name!r} is a shipped rubric: choose another name", "name")
    link = folder / name
    if link.exists() and not link.is_symlink():
        raise RubricTaken(f"name = {name!r} is a folder that was put there by hand: change its files instead", "name")

    # Check the rubric, as if it were loaded from files.
    fields = body.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"template", "argue"})
    try:
        spec_file = "".join(f"{key} = {as_toml(value)}\n" for key, value in fields.items()).encode()
    except UnicodeEncodeError as error:
        raise RubricError(f"rubric {name}: a text is no valid Unicode ({error.reason}): leave it out") from error
    check_engines(name, body, engines)
    compile_rubric(name, body, body.template, body.argue, digest="")

    # Write it.
    texts = {"template.txt": body.template, "argue.txt": body.argue}
    files = {file: f"{text}\n".encode() for file, text in texts.items() if text is not None}
    _publish(link, {"rubric.toml": spec_file, **files})
    return load_rubric(link)


def reload_rubric(folder: Path, name: str, engines: Collection[str] = ()) -> Rubric | None:
    """Load a rubric of `folder` that may have been added or replaced meanwhile; None where there is no usable one."""
    if not _NAME.fullmatch(name) or not (folder / name).is_dir():
        return None
    try:
        rubric = load_rubric(folder / name)
        check_engines(name, rubric.spec, engines)
    except RubricError:
        return None
    return rubric


def as_toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {as_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(as_toml(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    # A JSON string is a TOML string too, except that TOML wants DEL escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)


def _publish(link: Path, files: dict[str, bytes]) -> None:
    versions = link.parent / _VERSIONS
    versions.mkdir(exist_ok=True)
    version = Path(tempfile.mkdtemp(prefix=f"{link.name}-", dir=versions))
    try:
        version.chmod(0o755)
        for file, content in files.items():
            (version / file).write_bytes(content)
        new_link = versions / f"{version.name}.link"
        # The target is relative to the folder that the link is moved to.
        new_link.symlink_to(version.relative_to(link.parent))
        os.replace(new_link, link)
    except OSError:
        shutil.rmtree(version, ignore_errors=True)
        raise
