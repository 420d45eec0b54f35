"""Judged rows as one Parquet file, written beside its place and moved there when it is whole."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from selfreward.files.rows import RowError, import_parquet, read_rows

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
