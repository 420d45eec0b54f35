"""Write exported preference data as a file of JSON Lines or Parquet."""

import json
from pathlib import Path
from typing import Any

from selfreward.files.rows import RowError, import_parquet
from selfreward.loop.export import COLUMNS, Layout


def check_out(out: Path) -> None:
    """Raise RowError unless `out` ends in `.jsonl`, or in `.parquet` and pyarrow is installed."""
    if out.suffix not in (".jsonl", ".parquet"):
        raise RowError(f"--out {out} ends in {out.suffix!r}: choose .jsonl or .parquet")
    if out.suffix == ".parquet":
        import_parquet()


def write_export(lines: bytes, out: Path, layout: Layout) -> None:
    """Write exported JSON Lines to `out`, whose name `check_out` allows. Replaces `out` atomically.

    A Parquet file has the columns of `COLUMNS` with their types, also where a column is always null.
    """
    temporary = out.with_name(f".{out.name}.tmp")
    if out.suffix == ".parquet":
        rows = [json.loads(line) for line in lines.splitlines()]
        _write_parquet(rows, temporary, layout)
    else:
        temporary.write_bytes(lines)
    temporary.replace(out)


def _write_parquet(rows: list[dict[str, Any]], out: Path, layout: Layout) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        "turns": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
        "numbers": pa.list_(pa.float64()),
        "number": pa.float64(),
        "text": pa.string(),
        "truth": pa.bool_(),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS[layout].items()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out, compression="zstd")
