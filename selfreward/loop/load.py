"""Read a recipe. Dotted overrides win over the environment, and the environment over the TOML file."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError, create_model, model_validator

from selfreward.contracts.base import content_key, explain
from selfreward.loop.methods import METHODS
from selfreward.recipe.recipe import Recipe, RecipeError

_ENV_PREFIX = "SELFREWARD_RECIPE__"
_ALWAYS_HASHED = ("meta", "cream", "scir", "constitution", "process", "rl", "verdicts")
"""Tables that enter the hash of every recipe. A later method's table enters only the hash of its own recipes, so that a
new method changes no other hash: runs and checkpoints are known by theirs."""


class _MethodRecipe(Recipe):
    @model_validator(mode="after")
    def _check_by_its_method(self) -> Self:
        for name, method in METHODS.items():
            for key, model in method.tables.items():
                if name != self.method and getattr(self, key) != model():
                    raise ValueError(f"the section `{key}` is for method={name!r}, not {self.method!r}: leave it out")
        METHODS[self.method].check(self)
        return self

    @property
    def hash(self) -> str:
        """Identity of the resolved recipe."""
        others = {key for name, method in METHODS.items() if name != self.method for key in method.tables}
        return content_key(self.model_dump(mode="json", exclude=others - {*_ALWAYS_HASHED}))


if TYPE_CHECKING:
    RunRecipe = Recipe
else:
    RunRecipe = create_model(
        "Recipe",
        __base__=_MethodRecipe,
        __doc__="A whole run.",
        method=(Literal[tuple(METHODS)], "self_rewarding"),
        **{key: (model, model()) for method in METHODS.values() for key, model in method.tables.items()},
    )


def load_recipe(path: Path, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Recipe:
    """Read, override and validate a recipe. Raises RecipeError naming file, key, value and remedy."""
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist; recipes/ holds the shipped ones") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {path} is not valid TOML: {error}") from error
    environment = os.environ if environment is None else environment
    from_environment = [
        f"{name.removeprefix(_ENV_PREFIX).replace('__', '.')}={value}"
        for name, value in sorted(environment.items())
        if name.startswith(_ENV_PREFIX)
    ]
    for override in [*from_environment, *overrides]:
        _apply(values, override)
    return parse_recipe(values, source=str(path))


def parse_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Validate recipe values. Raises RecipeError naming each wrong key."""
    try:
        return RunRecipe.model_validate(values)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"]) or None
        raise RecipeError(f"recipe {source}:\n{explain(error)}", key) from error


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"override {override!r} is not of the form key=value, for example sampling.n=8")
    *parents, leaf = key.split(".")
    section = values
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise RecipeError(f"override {override!r}: {parent!r} is a value, not a section")
    section[leaf] = _literal(text)


def _literal(text: str) -> Any:
    """A TOML literal where `text` is one (numbers, booleans, lists, quoted strings), else the bare string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
