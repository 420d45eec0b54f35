"""A constitution file: the principles by which a model criticises, revises and compares answers (2212.08073)."""

import re
import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from selfreward.contracts.base import Contract, explain

_PLACES = re.compile(r"\{(prompt|response|critique|principle)\}")


class Principle(Contract):
    """One principle, in its wording for a critique, for a revision and for a choice between two answers."""

    critique: str = Field(min_length=1, max_length=2000)
    revision: str = Field(min_length=1, max_length=2000)
    choice: str = Field(min_length=1, max_length=2000)


class Constitution(Contract):
    """Content of a constitution file. `critique` and `revision` are templates of one user turn each.

    Both have the places `{prompt}`, `{response}` and `{principle}`; `revision` also has `{critique}`.
    """

    critique: str
    revision: str
    principles: list[Principle] = Field(min_length=1, max_length=256)

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        needed = {"critique": {"prompt", "response", "principle"}, "revision": {"prompt", "response", "critique"}}
        for name, places in needed.items():
            missing = sorted(places - set(_PLACES.findall(getattr(self, name))))
            if missing:
                place = missing[0]
                raise ValueError(f"{name} never uses {{{place}}}: write {{{place}}} where the {place} shall stand")
        if "critique" in _PLACES.findall(self.critique):
            raise ValueError("critique uses {critique}, which is not written yet: leave it out")
        return self


def read_constitution(path: str) -> Constitution:
    """A constitution file (TOML). ValueError naming the file, the key and the remedy."""
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"file {path} does not exist (working directory {Path.cwd()}); give another path")
    try:
        return Constitution.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"file {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(f"file {path}:\n{explain(error)}") from error


def fill(template: str, **texts: str) -> str:
    """The template with texts at their places, in one pass, so that no text is read as a template."""
    return _PLACES.sub(lambda place: texts.get(place[1], place[0]), template)
