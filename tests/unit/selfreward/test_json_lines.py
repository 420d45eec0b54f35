"""JSON Lines with what people's tools leave in them."""

from pathlib import Path

import pytest

from selfreward.json_lines import numbered_lines, parse_line


def test_only_line_feeds_end_lines_and_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\u0085z"}\r\n\n \n{"a": "\ufeff"}'.encode())

    assert [(number, parse_line(line)) for number, line in numbered_lines(path)] == [
        (1, {"a": "x\u2028y\u0085z"}),
        (4, {"a": "\ufeff"}),
    ]


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\uDE00", b"\xed\xa0\xbd"])
def test_half_an_emoji_is_left_out(half: bytes) -> None:
    assert parse_line(b'{"a": ["cut: ' + half + rb' \ud83d\ude00"]}') == {"a": ["cut:  \U0001f600"]}
    assert parse_line(rb'{"\ud83d": 1}') == {"": 1}


def test_what_is_not_json_is_an_error() -> None:
    for line in (b"{", b'"\xff"'):
        with pytest.raises(ValueError, match=r"delimiter|property name|codec"):
            parse_line(line)
