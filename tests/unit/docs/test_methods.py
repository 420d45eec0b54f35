"""docs/methods.md: every method is there, in few lines, and every key, value and recipe that it names exists."""

import inspect
import re
import sys
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from selfreward.loop.load import RunRecipe, load_recipe
from selfreward.loop.methods import METHODS, Method
from tests.support.places import RECIPES, ROOT

PAGE = (ROOT / "docs" / "methods.md").read_text()
SECTIONS = {part.partition("`\n")[0]: part for part in PAGE.split("\n## `")[1:]}
TOLD = {"Sampled and judged", "Pairs and loss", "Keys", "Not as in the paper", "Choose it"}
"""What is told of each method."""
KEY = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:=([^`]+))?`")


def field(key: str) -> FieldInfo:
    """The field of the recipe that a dotted key names. KeyError when there is none."""
    *parents, leaf = key.split(".")
    section: type[BaseModel] = RunRecipe
    for parent in parents:
        found = section.model_fields[parent].annotation
        assert isinstance(found, type), f"{key}: {parent} is no section"
        assert issubclass(found, BaseModel), f"{key}: {parent} is no section"
        section = found
    return section.model_fields[leaf]


def test_every_section_is_a_methods_and_a_method_without_one_is_told_in_its_file() -> None:
    assert sorted(SECTIONS) == sorted(method for method in METHODS if method in SECTIONS)
    untold = [name for name, method in METHODS.items() if name not in SECTIONS and not words(method) >= TOLD]
    assert untold == []


def words(method: Method) -> set[str]:
    """What the docstring of a method's file has a paragraph of."""
    told = inspect.getdoc(sys.modules[type(method).__module__]) or ""
    return set(re.findall(r"^- \*\*(.+?)\*\*", told, re.MULTILINE))


@pytest.mark.parametrize("method", SECTIONS)
def test_a_method_is_told_in_a_few_lines_with_a_recipe_of_its_own(method: str) -> None:
    lines = [line for line in SECTIONS[method].splitlines() if line.strip()]
    assert len(lines) <= 15, "a page to choose by, not to learn a method from"
    assert set(re.findall(r"^- \*\*(.+?)\*\*", SECTIONS[method], re.MULTILINE)) >= TOLD
    (shipped,) = re.findall(r"\(\.\./recipes/([a-z_]+)\.toml\)", SECTIONS[method])
    assert load_recipe(RECIPES / f"{shipped}.toml", environment={}).method == method


def test_every_key_is_one_of_the_recipes_and_takes_the_value_that_is_given() -> None:
    named = KEY.findall(PAGE)
    assert len(named) > 50
    for key, value in named:
        annotation: Any = field(key).annotation
        if value:
            TypeAdapter(annotation).validate_python(value)


def test_a_key_that_does_not_exist_is_noticed() -> None:
    assert KEY.findall("`judging.voices=3` and `pairs.margin`") == [("judging.voices", "3"), ("pairs.margin", "")]
    with pytest.raises(KeyError, match="voices"):
        field("judging.voices")


def test_the_page_is_found_from_the_readme() -> None:
    assert "(docs/methods.md)" in (ROOT / "README.md").read_text()
