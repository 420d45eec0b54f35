"""A method is one class in one file: nothing outside `selfreward/loop/methods/` asks which method a recipe has."""

import ast
from collections.abc import Iterator

import pytest

from selfreward.loop.methods import METHODS
from tests.support.places import ROOT

HOME = ROOT / "selfreward" / "loop" / "methods"
FILES = [
    file
    for part in ("selfreward", "orchestrator", "services")
    for file in sorted((ROOT / part).rglob("*.py"))
    if HOME not in file.parents
]


def strings(node: ast.AST) -> set[str]:
    """The strings of an expression, those of a tuple, list or set among them."""
    return {child.value for child in ast.walk(node) if isinstance(child, ast.Constant) and isinstance(child.value, str)}


def asked(source: str) -> Iterator[int]:
    """Lines that compare with a method's name, match one, or look one up by the recipe's."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            known = set.union(*(strings(side) for side in (node.left, *node.comparators)))
        elif isinstance(node, ast.MatchValue):
            known = strings(node)
        elif isinstance(node, ast.Dict):
            known = set.union(set(), *(strings(key) for key in node.keys if key is not None))
        else:
            continue
        if known & set(METHODS):
            yield node.lineno


def test_nothing_outside_asks_which_method_it_is() -> None:
    places = [f"{file.relative_to(ROOT)}:{line}" for file in FILES for line in asked(file.read_text())]
    assert places == []


@pytest.mark.parametrize(
    "source", ["recipe.method == 'spin'", "x in ('dno', 'cream')", "match m:\n case 'scir': pass", "{'process': 1}[m]"]
)
def test_a_question_is_noticed(source: str) -> None:
    assert list(asked(source))


def test_every_method_has_a_file_of_its_own() -> None:
    homes = {name: type(method).__module__ for name, method in METHODS.items()}
    assert homes == {name: f"selfreward.loop.methods.{name}" for name in METHODS}
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}
