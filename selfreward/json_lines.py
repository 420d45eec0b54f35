"""JSON Lines as people and tools write them.

Only a line feed ends a line, since a JSON text may hold the other signs that end lines in Unicode (U+2028). A byte
order mark is no part of the first line. Half a surrogate pair, which is what is left of an emoji that was cut, is left
out, because UTF-8 has no form for it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, text


def parse_line(line: bytes) -> Any:
    """The value of one line. Raises ValueError when it is not JSON."""
    value = json.loads(line)
    # Half a pair comes as an escape, or as the bytes that some encoders make of it.
    if b"\\u" in line or b"\xed" in line:
        value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="ignore"))
    return value
