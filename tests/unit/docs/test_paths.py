"""The documents: every link, file path, module, make target and subcommand that they name exists."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from typer.main import get_group

from selfreward.cli.main import app
from tests.support.places import ROOT

PATTERNS = ("*.md", "docs/**/*.md", "examples/*/README.md", "evidence/*.md")
# The changelog names places of earlier releases.
DOCUMENTS = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)} - {ROOT / "CHANGELOG.md"})
FOLDERS = "bench|docs|evidence|examples|k8s|observability|orchestrator|recipes|selfreward|services|tests"
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?:{FOLDERS})/[\w./*{{}},-]*")
# `selfreward/judge` alone is an image.
IMAGE = re.compile(r"selfreward/\w+")
NAME = re.compile(r"\b(?:selfreward|services|orchestrator|examples|bench|tests)(?:\.[A-Za-z_]\w*)+(?![\w/])")
MAKE = re.compile(r"(?<![\w-])make (?:[A-Z]\S* )*([a-z][\w-]*)")
SUBCOMMAND = re.compile(r"(?:^|bin/)selfreward ([a-z][\w-]*)")


def snippets(page: str) -> list[str]:
    """All code of a page: the lines of its blocks, and what stands between backticks."""
    blocks = FENCE.findall(page)
    return [line.strip() for block in blocks for line in block.splitlines()] + CODE.findall(FENCE.sub("", page))


def paths(page: str) -> Iterator[str]:
    """File paths from the repository's root. Paths with a `<placeholder>` are left out."""
    for code in snippets(page):
        for word in code.split():
            path = word.strip("\"',;()")
            if PATH.fullmatch(path) and not IMAGE.fullmatch(path):
                yield path


def path_exists(path: str) -> bool:
    """Whether a path exists. With `*` or `{a,b}`: whether each alternative matches a file."""
    parts = [part.split(",") for part in re.split(r"[{}]", path)]
    return all(any(ROOT.glob(pattern.rstrip("/"))) for pattern in map("".join, product(*parts)))


def name_exists(name: str) -> bool:
    """Whether a dotted name is a package or a module, or a word in the module before its last dot."""
    module, _, member = name.rpartition(".")
    place, file = ROOT.joinpath(*name.split(".")), ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    return file.is_file() and re.search(rf"\b{member}\b", file.read_text()) is not None


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dangling_links(document: Path) -> list[str]:
    """Links of a document to a file or a heading that does not exist."""
    missing = []
    for link in LINK.findall(FENCE.sub("", document.read_text())):
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        if re.match(r"\w+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            missing.append(link)
    return missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_that_a_document_names_exists(document: Path) -> None:
    page = document.read_text()
    code = snippets(page)
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    subcommands = get_group(app).commands

    assert dangling_links(document) == []
    assert [path for path in paths(page) if not path_exists(path)] == []
    assert [name for line in code for name in NAME.findall(line) if not name_exists(name)] == []
    assert [target for line in code for target in MAKE.findall(line) if target not in targets] == []
    assert [name for line in code for name in SUBCOMMAND.findall(line) if name not in subcommands] == []


def test_what_does_not_exist_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[a](#one-heading) [b](#none) [c](none.md)\n`docs/none.md` `docs/<name>.md`\n")

    assert dangling_links(page) == ["#none", "none.md"]
    assert list(paths(page.read_text())) == ["docs/none.md"]
    assert not path_exists("docs/none.md")
    assert path_exists("docs/{methods,limits}.md")
    assert not path_exists("docs/{methods,none}.md")
    assert name_exists("selfreward.recipe.recipe.Recipe")
    assert not name_exists("selfreward.recipe.recipe.Menu")
    assert MAKE.findall("SELFREWARD_MODEL=m0 make LOCK=gpu.lock up") == ["up"]
    assert SUBCOMMAND.findall(".venv/bin/selfreward run mine.toml") == ["run"]


def test_the_picture_of_the_tree_has_every_package() -> None:
    (picture,) = re.findall(r"^```text\n(.*?)^```", (ROOT / "docs" / "development.md").read_text(), re.M | re.S)
    pictured, place = set(), [""]
    for indent, name in re.findall(r"^( *)([\w-]+)/  ", picture, re.MULTILINE):
        place[len(indent) // 2 :] = [name]
        pictured.add(Path(*place))
    packages = {
        file.parent.relative_to(ROOT)
        for part in ("selfreward", "services", "orchestrator")
        for file in (ROOT / part).rglob("__init__.py")
    }

    assert [path for path in pictured if not (ROOT / path).is_dir()] == []
    assert packages - pictured == set()
