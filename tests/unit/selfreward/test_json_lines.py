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
def test_half_an_emoji_is_refused_and_a_whole_one_read(half: bytes) -> None:
    assert parse_line(rb'{"a": "\ud83d\ude00"}') == {"a": "\U0001f600"}
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        parse_line(b'{"a": ["cut: ' + half + b'"]}')


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", r"^not valid JSON: Expecting property name"),
        (b'"caf\xe9"', r"^not UTF-8 \(byte 0xe9 at place 5\): save the file in this encoding$"),
        ('{"a": 1}'.encode("utf-16"), r"^not UTF-8 \(byte 0xff at place 1\)"),
        (b"[" * 100_000, r"^nested too deeply: a row is one object"),
    ],
)
def test_what_is_not_json_is_an_error_with_its_remedy(line: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_line(line)
