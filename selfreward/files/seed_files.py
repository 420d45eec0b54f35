"""What a file of rows can be used for as seed data, and its rows in the form of seed files."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.base import explain
from selfreward.files.rows import RowError, read_rows
from selfreward.loop.rows import IftRow, PromptRow, RankedRow
from selfreward.loop.seed.formats import as_seed_row
from selfreward.loop.seed.read import Check, accept, conversation_of

_USES: dict[type[PromptRow], tuple[str, ...]] = {
    PromptRow: ("prompts", "heldout"),
    IftRow: ("ift", "prompts", "heldout"),
    RankedRow: ("eft", "eft_eval"),
}


@dataclass
class SeedFile:
    """A checked file: its rows, their formats, the recipe keys below `data` that it can stand at, and its problems."""

    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    uses: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_seed_file(path: Path, check: Check = accept) -> SeedFile:
    """Read all rows of a `.jsonl` or `.parquet` file. Raises RowError for a file that cannot be read as such."""
    found, kinds = SeedFile(), set()
    for place, name, row in _seed_rows(path):
        found.rows += 1
        found.formats[name] += 1
        kind = _kind(row)
        kinds.add(kind)
        try:
            check(conversation_of(kind.model_validate(row)))
        except ValidationError as error:
            found.problems.append(f"{path}, {place}:\n{explain(error)}")
        except ValueError as error:
            found.problems.append(f"{path}, {place}: {error}")
    if not found.rows:
        raise RowError(f"{path} has no rows")
    # A key that the rows of every kind can stand at.
    found.uses = [use for use in _USES[IftRow] + _USES[RankedRow] if all(use in _USES[kind] for kind in kinds)]
    if not found.uses:
        found.problems.append(f"{path}: some rows have ranked answers and some have none: put them into two files")
    return found


def convert_seed_file(source: Path, out: Path) -> int:
    """Write the rows of `source` as JSON Lines in the form of seed files; returns their number. Replaces atomically."""
    partial = out.with_name(f".{out.name}.tmp")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for _, _, row in _seed_rows(source):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    partial.replace(out)
    return count


def _seed_rows(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Place, format and seed row of each row."""
    for row in read_rows(path):
        try:
            # Parquet has every column in every row.
            values = {name: value for name, value in row.values.items() if value is not None}
            name, seed_row = as_seed_row(values, with_response=True)
        except ValueError as error:
            raise RowError(f"{path}, {row.place}: {error}") from error
        yield row.place, name, seed_row


def _kind(row: dict[str, Any]) -> type[PromptRow]:
    return RankedRow if "responses" in row else IftRow if "response" in row else PromptRow
