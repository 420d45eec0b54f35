"""What commands print to and write."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

stdout = Console()
stderr = Console(stderr=True)


def say(text: str) -> None:
    """Print a line as it is, without markup, colours or line breaks."""
    stdout.print(text, markup=False, highlight=False, soft_wrap=True)


def write_json(path: Path, value: Any) -> None:
    """Write a report, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write JSON Lines, and make their folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
