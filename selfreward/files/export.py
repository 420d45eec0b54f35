"""Exported preference data: its columns, and how it becomes a file of JSON Lines or Parquet."""

import json
from pathlib import Path
from typing import Any, Literal

from selfreward.files.rows import RowError, import_parquet

Layout = Literal["pairs", "kto"]
"""TRL's preference format, or single answers with a label for KTO."""

Kind = Literal["turns", "numbers", "number", "text", "truth"]
"""What a column holds: chat turns, a list of numbers, a number, a text, or true and false."""

COLUMNS: dict[Layout, dict[str, Kind]] = {
    "pairs": {
        "prompt": "turns",
        "chosen": "turns",
        "rejected": "turns",
        "score_chosen": "number",
        "score_rejected": "number",
        "margin": "number",
        "votes_chosen": "numbers",
        "votes_rejected": "numbers",
        "kind": "text",
        "judge_version": "text",
        "policy_version": "text",
        "rubric": "text",
        "prompt_id": "text",
        "weight": "number",
        "separator": "text",
    },
    "kto": {"prompt": "turns", "completion": "turns", "label": "truth", "prompt_id": "text"},
}
"""The columns of each layout by name."""


def check_out(out: Path) -> None:
    """RowError unless `out` ends in `.jsonl`, or in `.parquet` where pyarrow is installed."""
    if out.suffix not in (".jsonl", ".parquet"):
        raise RowError(f"--out {out} ends in {out.suffix!r}: choose .jsonl or .parquet")
    if out.suffix == ".parquet":
        import_parquet()


def write_export(lines: bytes, out: Path, layout: Layout) -> None:
    """Write exported JSON Lines as `out`, a name that `check_out` allows; it is replaced when all of it is written.

    Parquet has the columns of `COLUMNS` with their types, also where one of them is always null.
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
