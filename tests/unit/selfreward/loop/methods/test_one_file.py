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


HASHED = ROOT / "selfreward" / "loop" / "load.py"
"""Names the tables that every recipe's hash counts."""
FILES_OF_METHODS = {f"selfreward.loop.methods.{name}" for name in METHODS}


def documentation(tree: ast.AST) -> set[ast.AST]:
    """The docstrings of a module, and the strings below its assignments."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def questions(source: str) -> Iterator[int]:
    """Lines that name a method or import its file: whoever asks which method it is has to do one of both."""
    tree = ast.parse(source)
    ignored = documentation(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in METHODS and node not in ignored:
            yield node.lineno
        elif isinstance(node, ast.keyword) and node.arg in METHODS:
            yield node.value.lineno
        elif isinstance(node, ast.Import) and {alias.name for alias in node.names} & FILES_OF_METHODS:
            yield node.lineno
        elif isinstance(node, ast.ImportFrom):
            named = {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            if named & FILES_OF_METHODS:
                yield node.lineno


def test_nothing_outside_asks_which_method_it_is() -> None:
    places = [
        f"{file.relative_to(ROOT)}:{line}" for file in FILES if file != HASHED for line in questions(file.read_text())
    ]
    assert places == []


@pytest.mark.parametrize(
    "source",
    [
        "recipe.method == 'spin'",
        "x in ('dno', 'cream')",
        "match m:\n case 'scir': pass",
        "{'process': 1}[m]",
        "recipe.method.startswith('spin')",
        "getattr(recipe, 'scir', None)",
        "S = 'spin'\nrecipe.method == S",
        "dict(spin=1)[recipe.method]",
        "from selfreward.loop.methods.spin import Spin",
        "from selfreward.loop.methods import spin",
        "import selfreward.loop.methods.spin",
    ],
)
def test_a_question_is_noticed(source: str) -> None:
    assert list(questions(source))


def test_every_method_has_a_file_of_its_own() -> None:
    homes = {name: type(method).__module__ for name, method in METHODS.items()}
    assert homes == {name: f"selfreward.loop.methods.{name}" for name in METHODS}
    assert {name: method.name for name, method in METHODS.items()} == {name: name for name in METHODS}
