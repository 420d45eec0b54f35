"""The file of judged rows, written row by row so that judging can continue after any crash; and its form as Parquet.

The file is its own journal: its rows are the first rows of the input in their order, so the number of complete lines
says where to continue. Only the last line can be torn; it is cut off. Rows that are judged again are replaced at once.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from selfreward.client.judge import Judged
from selfreward.files.rows import JUDGED_BY, WRITTEN, RowError, import_parquet, read_rows

_SYNC_EVERY = 64
_PARQUET_BATCH = 1024


class JudgedRows:
    """An append-only JSON Lines file with one writer. Use as a context manager.

    Raises RowError when another process has the file open for writing.
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
        """Yield the complete rows from the first one on, and then cut off a torn last line."""
        self._file.seek(0)
        complete_bytes = 0
        for number, line in enumerate(self._file, 1):
            values = _parse(line)
            if values is None:
                if self._file.read(1):
                    raise RowError(
                        f"{self.path}, line {number} is no judged row: judging did not write this file, "
                        "move it away or use another --out"
                    )
                self._file.truncate(complete_bytes)
                return
            complete_bytes += len(line)
            if not line.endswith(b"\n"):
                self._file.write(b"\n")
                self._file.flush()
            yield values

    def append(self, row: dict[str, Any]) -> None:
        """Append one row. A crash of this process loses no row, a power cut at most the last 64."""
        self._file.write(_line(row))
        self._file.flush()
        self._unsynced += 1
        if self._unsynced == _SYNC_EVERY:
            self._sync()

    def replace(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Put other rows in the place of some, which are named by their index, in ascending order.

        The file changes as a whole at the end. If `rows` raises, it still has the rows that came before.
        """
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        new = temporary.open("w+b")
        fcntl.flock(new, fcntl.LOCK_EX)
        self._file.seek(0)
        next_index = 0
        try:
            for index, row in rows:
                new.writelines(islice(self._file, index - next_index))
                self._file.readline()
                new.write(_line(row))
                next_index = index + 1
        finally:
            new.writelines(self._file)
            self._file.close()
            self._file = new
            self._file.flush()
            self._sync()
            temporary.replace(self.path)

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._unsynced = 0


def _line(row: dict[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode and a JSON escape can
        return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The row of a line; None when the line is torn or judging did not write it.

    Every torn line is noticed, because no proper prefix of a JSON object is a JSON object.
    """
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) and values.keys() >= JUDGED_BY else None


def judged_row(values: dict[str, Any], judged: Judged, seed: int | None) -> dict[str, Any]:
    """The row `values` with the columns that judging adds. `seed` is the seed of the whole file."""
    columns = judged.judgment.model_dump(mode="json")
    columns |= {"rubric": judged.rubric, "judge_version": judged.judge_version, "judge_seed": seed}
    return {**values, **{name: columns[name] for name in WRITTEN}}


def restore_rows(source: Path, out: Path, rows: Path) -> None:
    """Write the JSON Lines file `rows`, atomically, from which a Parquet file of judged rows was made."""
    temporary = rows.with_name(f".{rows.name}.tmp")
    with temporary.open("wb") as lines:
        for row, judged in zip(read_rows(source), read_rows(out), strict=True):
            lines.write(_line({**row.values, **{name: judged.values.get(name) for name in WRITTEN}}))
    temporary.replace(rows)


def write_parquet(rows: Path, out: Path, report: Callable[[int], None]) -> None:
    """Write the JSON Lines file `rows` as Parquet to `out`, atomically, with 1024 rows in memory.

    Calls `report` with the number of rows written so far. Reads the rows twice, first to find the columns' types,
    because a column may be null in one row and a number in another. Raises RowError when a column has types that no
    Parquet column can hold together.
    """
    import_parquet()
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa, rows)
    temporary = out.with_name(f".{out.name}.tmp")
    written = 0
    with pq.ParquetWriter(temporary, schema) as writer:
        for batch in _batches(rows):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            for _ in batch:
                written += 1
                report(written)
    temporary.replace(out)


def _schema(pa: Any, rows: Path) -> Any:
    """The types of the input's columns, widened to fit all rows, followed by our own columns."""
    vote = pa.struct(
        {
            "score": pa.float64(),
            "status": pa.string(),
            "text": pa.string(),
            "finish_reason": pa.string(),
            "reason": pa.string(),
            "expected": pa.float64(),
            "criteria": pa.list_(pa.bool_()),
            "constrained": pa.bool_(),
            "reasoning_content": pa.string(),
            "engine": pa.string(),
        }
    )
    # The types of our own columns are fixed, because a column may be null in every row.
    own = {
        "score": pa.float64(),
        "status": pa.string(),
        "votes": pa.list_(vote),
        "stdev": pa.float64(),
        "agreement": pa.float64(),
        "disagreement": pa.float64(),
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
            inputs = pa.Table.from_pylist([{k: v for k, v in row.items() if k not in own} for row in batch]).schema
            schema = inputs if schema is None else pa.unify_schemas([schema, inputs], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise RowError(
            f"{rows}: a column has values that Parquet cannot hold together ({error}): use a .jsonl --out"
        ) from error
    return pa.schema([*(schema or ()), *own.items()])


def _batches(rows: Path) -> Iterator[list[dict[str, Any]]]:
    values = (row.values for row in read_rows(rows))
    while batch := list(islice(values, _PARQUET_BATCH)):
        yield batch
