"""Rows to judge: read from JSON Lines or Parquet one at a time, and check all of them before any work.

A row is `{"prompt", "response"}` or `{"messages"}`, whose last turn is judged. TRL's `completion` may stand in place of
`response`, and prompt and response may be texts or message lists. A `reference` is sent to rubrics that compare with
one. All other columns are copied to the output.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.client.judge_inputs import split_last
from selfreward.contracts.conversations import Conversation, conversation
from selfreward.contracts.judging import JudgeItem
from selfreward.json_lines import numbered_lines, parse_line

WRITTEN = (
    "score",
    "status",
    "votes",
    "stdev",
    "agreement",
    "disagreement",
    "valid_votes",
    "failure_kind",
    "failure_reason",
    "rubric",
    "judge_version",
    "judge_seed",
)
"""The columns that judging adds to a row."""
JUDGED_BY = frozenset(WRITTEN) - {"disagreement"}
"""Those by which a row is known to be judged. Files of older versions have no others."""

_SHOWN_PROBLEMS = 10
_PARQUET_ROWS = 256


class RowError(ValueError):
    """A file cannot be judged or continued. The message names file, row, field and remedy."""


class Fields(NamedTuple):
    """Names of the columns with prompt and response. None means `prompt`, and `response` or `completion`.

    `reference` says whether the rubric compares with the column `reference`. True: every row needs it. False: it is
    not sent. None (the rubric is unknown): it is sent for the rows that have it.
    """

    prompt: str | None = None
    response: str | None = None
    reference: bool | None = None


class Row(NamedTuple):
    """One row of the input. `place` names it in messages: `line 3` or `row 3`, counted from 1."""

    place: str
    values: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a `.jsonl` or `.parquet` file, with few of them in memory. Skips empty lines.

    Raises RowError when the file cannot be read.
    """
    if not path.is_file():
        raise RowError(f"{path} does not exist or is no file: give a .jsonl or .parquet file")
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
    elif path.suffix in (".jsonl", ".ndjson"):
        yield from _json_rows(path)
    else:
        raise RowError(f"{path} ends in {path.suffix!r}: give a .jsonl or .parquet file")


def _json_rows(path: Path) -> Iterator[Row]:
    for number, line in numbered_lines(path):
        try:
            values = parse_line(line)
        except ValueError as error:
            raise RowError(f"{path}, line {number} is {error}; write one object on each line") from error
        if not isinstance(values, dict):
            raise RowError(f"{path}, line {number} is a {type(values).__name__}: write one object on each line")
        yield Row(f"line {number}", values)


def _parquet_rows(path: Path) -> Iterator[Row]:
    parquet = import_parquet()
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", values)
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise RowError(f"{path} is not readable as Parquet: {error}") from error


def import_parquet() -> Any:
    """Import `pyarrow.parquet`. Raises RowError that says how to install it."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise RowError(
            "Parquet files need pyarrow: pip install 'selfreward-loop[parquet]', or use .jsonl files"
        ) from None
    return pyarrow.parquet


def to_item(values: dict[str, Any], fields: Fields, index: int) -> JudgeItem:
    """Convert a row to a judge item. The item's id is the row's index in the file, so a seed repeats the same votes.

    Raises ValueError naming the field, its value and the remedy.
    """
    prompt, response = _turns(values, fields)
    reference = values.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise ValueError(f"reference = {reference!r:.60}: give a text or leave it out")
    if reference is None and fields.reference:
        raise ValueError("reference is missing: the rubric compares with one; add the column, or use another --rubric")
    if fields.reference is False:
        reference = None
    return JudgeItem(id=str(index), prompt=prompt, response=response, reference=reference)


def _turns(values: dict[str, Any], fields: Fields) -> tuple[Conversation, Conversation]:
    named = fields.prompt is not None or fields.response is not None
    if values.get("messages") is not None and values.get("prompt") is None and not named:
        return split_last(values["messages"], "messages")
    prompt = fields.prompt or "prompt"
    response = fields.response or ("response" if values.get("response") is not None else "completion")
    for name, label, option in (
        (prompt, prompt, "--prompt-field"),
        (response, fields.response or "response", "--response-field"),
    ):
        if values.get(name) is None:
            columns = ", ".join(values) or "none"
            raise ValueError(f"{label} is missing: name its column with {option}; the row has {columns}")
    return conversation(values[prompt], prompt), conversation(values[response], response)


def check_rows(path: Path, fields: Fields, report: Callable[[int], None]) -> int:
    """Check every row of a file and return their number. Calls `report` with the number of rows read so far.

    Raises RowError that lists the first problems, one a line.
    """
    problems: list[str] = []
    count = 0
    for count, row in enumerate(read_rows(path), 1):
        try:
            to_item(row.values, fields, count - 1)
            _check_columns(row.values)
        except ValueError as error:
            problems.append(f"{path}, {row.place}: {error}")
            if len(problems) == _SHOWN_PROBLEMS:
                break
        report(count)
    if problems:
        raise RowError("\n".join(problems))
    if count == 0:
        raise RowError(f"{path} has no rows: nothing to judge")
    return count


def _check_columns(values: dict[str, Any]) -> None:
    taken = [name for name in WRITTEN if name in values]
    if taken:
        raise ValueError(f"{', '.join(taken)}: judging writes these columns, rename or drop them")
    try:
        json.dumps(values)
    except TypeError as error:
        raise ValueError(f"a column holds what JSON has no form for ({error}): make it a text, or drop it") from error
