"""The rows that were judged so far, on disk after each of them, so that judging can go on after any crash.

The file is its own record: its rows are the first rows of the input, in their order, so the number of its complete
lines is where to continue. Only the last line can be torn, and it is cut off.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from selfreward.client.judge import Judged
from selfreward.contracts.judging import Judgment
from selfreward.files.rows import WRITTEN, RowError, import_parquet, read_rows

_SYNC_EVERY = 64


class JudgedRows:
    """An append-only JSON Lines file that one process writes. Use as a context manager.

    Raises RowError when another process has it open for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._unsynced = 0
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise RowError(f"{path} is being written by another process: wait for it, or use another --out") from None

    def __enter__(self) -> "JudgedRows":
        return self

    def __exit__(self, *_: object) -> None:
        self._sync()
        self._file.close()

    def recover(self) -> Iterator[dict[str, Any]]:
        """The complete rows from the first one on; once all are read, what a crash left of the last is gone."""
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            values = _parsed(line)
            if values is None:
                if self._file.read(1):
                    raise RowError(
                        f"{self.path}, line {number} is no judged row: judging did not write this file, "
                        "move it away or use another --out"
                    )
                self._file.truncate(whole)
                return
            whole += len(line)
            if not line.endswith(b"\n"):
                self._file.write(b"\n")
                self._file.flush()
            yield values

    def append(self, row: dict[str, Any]) -> None:
        """Add one row. It survives the end of this process at once, and a power cut within 64 rows."""
        try:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can hold
            line = json.dumps(row, separators=(",", ":")).encode()
        self._file.write(line + b"\n")
        self._file.flush()
        self._unsynced += 1
        if self._unsynced == _SYNC_EVERY:
            self._sync()

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._unsynced = 0


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The row, or None when the line is torn or was never one of ours: no proper prefix of an object is an object."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and values.keys() >= set(WRITTEN) else None


def judged_row(values: dict[str, Any], judged: Judged, seed: int | None) -> dict[str, Any]:
    """The row with the columns that judging adds. `seed` is the whole file's."""
    judgment: Judgment = judged.judgment
    added = judgment.model_dump(mode="json")
    known = {**added, "rubric": judged.rubric, "judge_version": judged.judge_version, "judge_seed": seed}
    return {**values, **{name: known[name] for name in WRITTEN}}


_ROWS = 1024


def write_parquet(rows: Path, out: Path, report: Callable[[int], None]) -> None:
    """Write the JSON Lines file `rows` as `out`, holding 1024 rows at a time; `report` is told how many are written.

    The rows are read twice, first for the columns' types: one row's null is another's number. Raises RowError when a
    column has types that no Parquet column can hold together.
    """
    import_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _unified(pa, rows)
    temporary = out.with_name(f".{out.name}.tmp")
    written = 0
    with pq.ParquetWriter(temporary, schema) as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            for _ in batch:
                written += 1
                report(written)
    temporary.replace(out)


def _unified(pa: Any, rows: Path) -> Any:
    vote = pa.struct(
        {
            "score": pa.float64(),
            "status": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "reason": pa.string(),
            "expected": pa.float64(),
            "criteria": pa.list_(pa.bool_()),
        }
    )
    # Our own columns have their types even in a file where one of them is always null.
    own = {
        "score": pa.float64(),
        "status": pa.string(),
        "votes": pa.list_(vote),
        "stdev": pa.float64(),
        "agreement": pa.float64(),
        "valid_votes": pa.int64(),
        "failure_kind": pa.string(),
        "failure_reason": pa.string(),
        "rubric": pa.string(),
        "judge_version": pa.string(),
        "judge_seed": pa.int64(),
    }
    schema = None
    try:
        for batch in _batches(rows):
            found = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in own} for row in batch]).schema
            schema = found if schema is None else pa.unify_schemas([schema, found], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RowError(
            f"{rows}: a column has values that Parquet cannot hold together ({error}): use a .jsonl --out"
        ) from error
    return pa.schema([*(schema or ()), *own.items()])


def _batches(rows: Path) -> Iterator[list[dict[str, Any]]]:
    found = (row.values for row in read_rows(rows))
    while batch := list(islice(found, _ROWS)):
        yield batch
