"""JSON Lines as people and tools write them.

Only a line feed ends a line, since a JSON text may hold the other signs that end lines in Unicode (U+2028). A byte
order mark is no part of the first line.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HALF = "not UTF-8 (half of a surrogate pair, as of an emoji that was cut): remove it"


def numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not blank, with their numbers from 1."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, text


def parse_line(line: bytes) -> Any:
    """The value of one line.

    Raises ValueError, with the remedy, for what is not JSON in UTF-8, is nested too deeply to be read, or holds half of
    a surrogate pair: what is left of an emoji that was cut has no form in UTF-8, so no tokenizer takes it.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        # Some encoders write each half of a pair as three bytes, of which the first is this one.
        if line[error.start] == 0xED:
            raise ValueError(_HALF) from None
        wrong = f"byte 0x{line[error.start]:02x} at place {error.start + 1}"
        raise ValueError(f"not UTF-8 ({wrong}): save the file in this encoding") from None
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply: a row is one object with texts and message lists") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from None
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(_HALF) from None
    return value
