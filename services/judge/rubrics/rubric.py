"""Rubrics are data: a folder with `rubric.toml` (how to read the verdict) and `template.txt` (what the judge reads).

Of kind `debate` there is `argue.txt` too, what the debaters read.

A rubric's id is `name@sha256:<12 hex>` over its files, so a score always says by which text it was given.
"""

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.base import Message, explain
from selfreward.contracts.judging import JudgeItem
from selfreward.server.startup import StartRefused
from services.judge.reading.criteria import as_list
from services.judge.reading.read import VerdictFormat, compile_verdict
from services.judge.rubrics.spec import ARGUE, KINDS, DebateSpec, RubricSpec
from services.judge.rubrics.template import Template, as_text, compile_template

SHIPPED = Path(__file__).parent / "shipped"


class RubricError(StartRefused):
    """A rubric that cannot be used; the message names file, field, value and remedy. `field` is in `rubric.toml`, or
    `template` or `argue`."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Debate:
    """What goes before the verdicts of kind `debate`, and what the debaters are asked."""

    spec: DebateSpec
    text: str
    argue: Template


@dataclass(frozen=True)
class Rubric:
    """A loaded rubric, everything compiled. `verdict` is how a number after the label is read; `debate` is there
    in kind `debate` alone."""

    name: str
    digest: str
    spec: RubricSpec
    text: str
    template: Template
    verdict: VerdictFormat
    debate: Debate | None = None

    @property
    def id(self) -> str:
        """`name@sha256:<12 hex>`."""
        return f"{self.name}@sha256:{self.digest[:12]}"

    @property
    def uses_reference(self) -> bool:
        """Whether responses are compared with a reference answer."""
        return "reference" in self.template.fields

    def prompt(self, item: JudgeItem) -> str:
        """The filled judge prompt, which is one user turn. For rubrics of a pointwise kind only."""
        return self.template.fill_with(
            {
                "prompt": as_text(item.prompt),
                "response": as_text(item.response),
                "reference": item.reference or "",
                "criteria": as_list(item.criteria or self.spec.criteria),
            }
        )

    def messages(self, item: JudgeItem) -> list[Message]:
        """The filled judge prompt as a conversation."""
        return [Message(role="user", content=self.prompt(item))]

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/rubrics/{id}` answers."""
        texts = {"template": self.text, "argue": self.debate.text if self.debate else None}
        return {"id": self.id, "name": self.name, **self.spec.model_dump(mode="json"), **texts}


def load_rubric(folder: Path) -> Rubric:
    """Read and check one rubric folder. The newline that ends a text file is not part of the prompt."""
    raw = {}
    for file in ("rubric.toml", "template.txt"):
        try:
            raw[file] = (folder / file).read_bytes()
        except FileNotFoundError:
            raise RubricError(f"rubric {folder.name}: {folder / file} is missing; a rubric needs both files") from None
    try:
        spec = RubricSpec.model_validate(tomllib.loads(raw["rubric.toml"].decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RubricError(f"rubric {folder.name}: {folder / 'rubric.toml'} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise RubricError(f"rubric {folder.name}: {folder / 'rubric.toml'}:\n{explain(error)}") from error
    if (folder / "argue.txt").exists():
        raw["argue.txt"] = (folder / "argue.txt").read_bytes()
    texts = {}
    for file in sorted(raw.keys() - {"rubric.toml"}):
        try:
            texts[file] = raw[file].decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise RubricError(f"rubric {folder.name}: {folder / file} is not UTF-8: {error}") from error
    digest = hashlib.sha256(b"\0".join(raw.values())).hexdigest()
    return compile_rubric(folder.name, spec, texts["template.txt"], texts.get("argue.txt"), digest, folder)


def compile_rubric(
    name: str, spec: RubricSpec, text: str, argue_text: str | None, digest: str, folder: Path = Path()
) -> Rubric:
    """A rubric from its parts; errors say that its files are in `folder`. Raises RubricError."""
    for delimiter in spec.delimiters:
        if delimiter not in text:
            message = f"rubric {name}: delimiters: {delimiter!r} does not occur in template.txt"
            raise RubricError(message, "delimiters")
    fixed, numbered = ([], [spec.verdict_label]) if spec.numbered else ([spec.verdict_label], [])
    marks = [*spec.delimiters, *fixed]
    try:
        template = compile_template(text, marks, KINDS[spec.kind], numbered)
    except ValueError as error:
        raise RubricError(f"rubric {name}: {folder / 'template.txt'}: {error}", "template") from error
    verdict = compile_verdict(spec.verdict_label, spec.scale.min, spec.scale.max)
    if spec.debate is None and argue_text is None:
        return Rubric(name, digest, spec, text, template, verdict)
    where = folder / "argue.txt"
    if spec.debate is None or argue_text is None:
        wrong = "is missing: add it" if argue_text is None else "is read by kind 'debate' alone: leave it out"
        raise RubricError(f"rubric {name}: kind = {spec.kind!r}: {where} {wrong}", "argue")
    try:
        argue = compile_template(argue_text, marks, ARGUE)
    except ValueError as error:
        raise RubricError(f"rubric {name}: {where}: {error}", "argue") from error
    return Rubric(name, digest, spec, text, template, verdict, Debate(spec.debate, argue_text, argue))


def load_rubrics(folders: Iterable[Path]) -> dict[str, Rubric]:
    """All rubrics below the folders by name, a later folder's before an earlier one's."""
    loaded = {}
    for folder in folders:
        if not folder.is_dir():
            raise RubricError(f"judge_rubrics={str(folder)!r} is not a folder: create it or unset the setting")
        for path in sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != "."):
            loaded[path.name] = load_rubric(path)
    return loaded
