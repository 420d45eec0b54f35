"""A rubric is a folder: `rubric.toml` (kind, scale, sampling) and `template.txt` (the prompt that the judge reads).

A rubric of kind `debate` also has `argue.txt`, the prompt that the debaters read. To add a rubric, add its folder to
`shipped/` here, or to the folder that SELFREWARD_JUDGE_RUBRICS names.

A rubric's id is `name@sha256:<12 hex>` over its files, so every score names the text by which it was given.
"""

import hashlib
import tomllib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.base import explain
from selfreward.contracts.judging import JudgeItem
from selfreward.server.startup import StartRefused
from services.judge.reading.criteria import as_list
from services.judge.reading.score import ScoreForm
from services.judge.rubrics.spec import ARGUE, KINDS, DebateSpec, RubricSpec
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, SpecialTokens
from services.judge.rubrics.template import Template, Value, as_text, compile_template

SHIPPED = Path(__file__).parent / "shipped"
"""The folder of the rubrics that come with the judge."""


class RubricError(StartRefused):
    """A rubric cannot be used. The message names file, field, value and remedy.

    `field` is a field of `rubric.toml`, or `template` or `argue`.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Debate:
    """The debate of a rubric of kind `debate`. `text` is `argue.txt`, `argue` the compiled prompt of the debaters."""

    spec: DebateSpec
    text: str
    argue: Template


@dataclass(frozen=True)
class Rubric:
    """A loaded rubric, everything compiled. `text` is `template.txt`, `score_form` reads a number after the label.

    Only a rubric of kind `debate` has a `debate`.
    """

    name: str
    digest: str
    spec: RubricSpec
    text: str
    template: Template
    score_form: ScoreForm
    debate: Debate | None = None

    @property
    def id(self) -> str:
        """`name@sha256:<12 hex>`."""
        return f"{self.name}@sha256:{self.digest[:12]}"

    @property
    def uses_reference(self) -> bool:
        """Whether the rubric compares responses with a reference answer."""
        return "reference" in self.template.fields

    def prompt(self, item: JudgeItem, tokens: SpecialTokens = UNKNOWN_ENGINE) -> str:
        """The filled judge prompt, which is one user turn. Only for rubrics of a pointwise kind.

        `tokens` are the special tokens of the engine that reads it.
        """
        return self.template.fill(self.values(item), tokens)

    def values(self, item: JudgeItem) -> dict[str, Value]:
        """What is filled in for the placeholders of a pointwise kind."""
        return {
            "prompt": as_text(item.prompt),
            "response": as_text(item.response),
            "reference": item.reference or "",
            "criteria": as_list(item.criteria or self.spec.criteria),
        }

    def describe(self) -> dict[str, Any]:
        """The answer of `GET /v1/rubrics/{id}`."""
        texts = {"template": self.text, "argue": self.debate.text if self.debate else None}
        return {"id": self.id, "name": self.name, **self.spec.model_dump(mode="json"), **texts}


def load_rubric(folder: Path) -> Rubric:
    """Read and check one rubric folder. The newline that ends a text file is not part of the prompt.

    Raises RubricError.
    """
    # Read the files.
    raw = {}
    for file in ("rubric.toml", "template.txt"):
        try:
            raw[file] = (folder / file).read_bytes()
        except FileNotFoundError:
            raise RubricError(f"rubric {folder.name}: {folder / file} is missing; a rubric needs both files") from None

    # Check `rubric.toml`.
    try:
        spec = RubricSpec.model_validate(tomllib.loads(raw["rubric.toml"].decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RubricError(f"rubric {folder.name}: {folder / 'rubric.toml'} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise RubricError(f"rubric {folder.name}: {folder / 'rubric.toml'}:\n{explain(error)}") from error

    # Decode the prompts.
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
    """Make a rubric from its parts. Raises RubricError, whose message says that the files are in `folder`."""
    # Compile the judge's prompt and how its scores are read.
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
    score_form = ScoreForm(spec.verdict_label, spec.scale.min, spec.scale.max)
    if spec.debate is None and argue_text is None:
        return Rubric(name, digest, spec, text, template, score_form)

    # Compile the debaters' prompt.
    where = folder / "argue.txt"
    if spec.debate is None or argue_text is None:
        wrong = "is missing: add it" if argue_text is None else "is read by kind 'debate' alone: leave it out"
        raise RubricError(f"rubric {name}: kind = {spec.kind!r}: {where} {wrong}", "argue")
    try:
        argue = compile_template(argue_text, marks, ARGUE)
    except ValueError as error:
        raise RubricError(f"rubric {name}: {where}: {error}", "argue") from error
    return Rubric(name, digest, spec, text, template, score_form, Debate(spec.debate, argue_text, argue))


def check_engines(name: str, spec: RubricSpec, engines: Collection[str]) -> None:
    """Check that a judge with these named engines knows all that a rubric names. Raises RubricError."""
    for engine in spec.engines:
        if engine not in engines:
            known = f"which has {', '.join(sorted(engines))}" if engines else "which is not set"
            raise RubricError(
                f"rubric {name}: engines: {engine!r} is not in SELFREWARD_JUDGE_ENGINES, {known}: add it there, or "
                "correct the name",
                "engines",
            )


def load_rubrics(folders: Iterable[Path], engines: Collection[str] = ()) -> dict[str, Rubric]:
    """Load all rubrics in the folders, by name. A rubric of a later folder replaces one of the same name.

    `engines` are the names that rubrics may have for their juries.

    Raises RubricError.
    """
    loaded = {}
    for folder in folders:
        if not folder.is_dir():
            raise RubricError(f"judge_rubrics={str(folder)!r} is not a folder: create it or unset the setting")
        for path in sorted(child for child in folder.iterdir() if child.is_dir() and child.name[0] != "."):
            loaded[path.name] = load_rubric(path)
    for rubric in loaded.values():
        check_engines(rubric.name, rubric.spec, engines)
    return loaded
