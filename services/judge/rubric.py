"""Rubrics are data: a folder with `rubric.toml` (how to read the verdict) and `template.txt` (what the judge reads).

A rubric's id is `name@sha256:<12 hex>` over both files, so a score always says by which text it was given.
"""

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from selfreward.config import explain
from selfreward.contracts import Contract, JudgeItem, Message
from services.judge.neutralise import check_delimiter
from services.judge.parse import VerdictFormat, compile_verdict
from services.judge.template import Template, as_text, compile_template

SHIPPED = Path(__file__).parent / "rubrics"


class RubricError(ValueError):
    """A rubric that cannot be used; the message names file, field, value and remedy."""


class Scale(Contract):
    """Inclusive range of scores, in points."""

    min: float = 0
    max: float = 5

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"min={self.min:g} is not below max={self.max:g}: swap or widen them")
        return self


class RubricSampling(Contract):
    """How the judge samples when the request does not say (Yuan et al. 2024, 2.2: as the answers, T=0.7, p=0.9)."""

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=8192)


class RubricSpec(Contract):
    """Content of `rubric.toml`. `delimiters` are the marks in the template that no candidate text may forge."""

    title: str = Field(min_length=1)
    scale: Scale = Scale()
    verdict_label: str = Field(default="Score:", min_length=1)
    delimiters: list[str] = []
    min_valid_votes: int = Field(default=2, ge=1, le=64)
    sampling: RubricSampling = RubricSampling()

    @field_validator("verdict_label", "delimiters")
    @classmethod
    def _can_be_neutralised(cls, value: str | list[str]) -> str | list[str]:
        for delimiter in [value] if isinstance(value, str) else value:
            check_delimiter(delimiter)
        return value


@dataclass(frozen=True)
class Rubric:
    """A loaded rubric, everything compiled."""

    name: str
    digest: str
    spec: RubricSpec
    text: str
    template: Template
    verdict: VerdictFormat

    @property
    def id(self) -> str:
        """`name@sha256:<12 hex>`."""
        return f"{self.name}@sha256:{self.digest[:12]}"

    def prompt(self, item: JudgeItem) -> str:
        """The filled judge prompt, which is one user turn."""
        return self.template.fill(as_text(item.prompt), as_text(item.response), item.reference)

    def messages(self, item: JudgeItem) -> list[Message]:
        """The filled judge prompt as a conversation."""
        return [Message(role="user", content=self.prompt(item))]

    def describe(self) -> dict[str, Any]:
        """What `GET /v1/rubrics/{id}` answers."""
        return {"id": self.id, "name": self.name, **self.spec.model_dump(mode="json"), "template": self.text}


def load_rubric(folder: Path) -> Rubric:
    """Read and check one rubric folder. The newline that ends `template.txt` is not part of the prompt."""
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
    text = raw["template.txt"].decode().removesuffix("\n")
    for delimiter in spec.delimiters:
        if delimiter not in text:
            raise RubricError(f"rubric {folder.name}: delimiters: {delimiter!r} does not occur in template.txt")
    try:
        template = compile_template(text, [*spec.delimiters, spec.verdict_label])
    except ValueError as error:
        raise RubricError(f"rubric {folder.name}: {folder / 'template.txt'}: {error}") from error
    digest = hashlib.sha256(raw["rubric.toml"] + b"\0" + raw["template.txt"]).hexdigest()
    verdict = compile_verdict(spec.verdict_label, spec.scale.min, spec.scale.max)
    return Rubric(folder.name, digest, spec, text, template, verdict)


def load_rubrics(folders: Iterable[Path]) -> dict[str, Rubric]:
    """All rubrics below the folders by name, a later folder's before an earlier one's."""
    loaded = {}
    for folder in folders:
        if not folder.is_dir():
            raise RubricError(f"judge_rubrics={str(folder)!r} is not a folder: create it or unset the setting")
        for path in sorted(child for child in folder.iterdir() if child.is_dir()):
            loaded[path.name] = load_rubric(path)
    return loaded
