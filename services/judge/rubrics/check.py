"""Check rubrics before a judge loads them: `python -m services.judge.rubrics.check FOLDER...`.

A folder is a rubric, or holds rubrics. Prints a line for each finding. Exits with status 1 when a rubric is refused.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from services.judge.rubrics.rubric import Rubric, RubricError, load_rubric
from services.judge.rubrics.spec import KINDS
from services.judge.rubrics.template import Slot

_MARK = re.compile(r"\S[^\n]{0,60}\Z")
_BRACED = re.compile(r"\{([a-z_]+)\}")
_WITHOUT_CANDIDATES = ("criteria", "principle", "side", "candidates")
"""Placeholders whose text is mostly the rubric's own, or has tags of its own."""


def refusals(rubric: Rubric) -> Iterator[str]:
    """What is wrong with a rubric that loads. Says what to do."""
    label = rubric.spec.verdict_label
    if not _asks_for(label).search(" ".join(part for part in rubric.template.parts if isinstance(part, str))):
        yield (
            f"template.txt never asks for the verdict: {label!r} is not in it, so hardly any vote will have one. Say "
            f"what the last line shall be, as in `{label.replace('#', '<number>')} <your verdict>`; or give --trained, "
            "where the judge was trained to write it unasked"
        )


def _asks_for(label: str) -> re.Pattern[str]:
    """A whole label in any case, with markdown or not; a `#` may be any number or name of one."""
    parts = [".{1,20}?" if part == "#" else re.escape(part) for part in re.findall(r"\w+|\S", label)]
    return re.compile(r"(?<!\w)" + r"[\s*_`\"']*".join(parts), re.IGNORECASE)


def warnings(rubric: Rubric) -> Iterator[str]:
    """What lets a candidate forge the end of its own section, and names in braces that are no placeholders."""
    yield from _unlisted("template.txt", rubric.template.parts, rubric.spec.delimiters)
    shape = KINDS[rubric.spec.kind]
    names = sorted({*_BRACED.findall(rubric.text)} - {*shape.required, *shape.optional})
    if names:
        allowed = ", ".join(f"{{{name}}}" for name in (*shape.required, *shape.optional))
        shown = ", ".join(f"{{{name}}}" for name in names)
        yield f"template.txt has {shown}, plain text for kind {rubric.spec.kind!r}: its placeholders are {allowed}"
    if rubric.debate:
        yield from _unlisted("argue.txt", rubric.debate.argue.parts, rubric.spec.delimiters)


def _unlisted(file: str, parts: tuple[str | Slot, ...], delimiters: list[str]) -> Iterator[str]:
    for before, slot in pairwise(parts):
        if not isinstance(slot, Slot) or slot.tag or slot.field in _WITHOUT_CANDIDATES:
            continue
        text = str(before).rstrip()
        if not text.endswith(tuple(delimiters) or ("\0",)):
            mark = _MARK.search(text)
            yield (
                f"{file}: {{{slot.field}}} has no tags, and what stands before it ({mark[0] if mark else ''!r:.60}) is "
                f"not in delimiters, so a candidate can forge it: write <{slot.field}>{{{slot.field}}}</{slot.field}>, "
                "or list it"
            )


def folders_in(folder: Path) -> list[Path]:
    """The folder itself where it is a rubric, else the rubrics in it."""
    if (folder / "rubric.toml").exists() or (folder / "template.txt").exists():
        return [folder]
    return sorted(path.parent for path in folder.glob("[!.]*/rubric.toml"))


def main() -> int:
    """Check the folders that the command line names."""
    parser = argparse.ArgumentParser(prog="selfreward rubric check", description="Check rubrics before a judge does.")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--trained", action="store_true")
    given = parser.parse_args()
    status = 0
    for given_folder in given.folders:
        if not (rubrics := folders_in(given_folder)):
            print(f"{given_folder}: no rubric: neither it nor a folder in it has a rubric.toml")
            status = 1
        for folder in rubrics:
            try:
                rubric = load_rubric(folder)
            except RubricError as error:
                print(f"refused: {error}")
                status = 1
                continue
            refused = [] if given.trained else list(refusals(rubric))
            for message in refused:
                print(f"refused: rubric {rubric.name}: {message}")
            for message in warnings(rubric):
                print(f"warning: rubric {rubric.name}: {message}")
            if refused:
                status = 1
            else:
                print(f"ok: {rubric.id}")
    return status


if __name__ == "__main__":
    sys.exit(main())
