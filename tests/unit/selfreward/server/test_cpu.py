"""Which CPUs compute in bf16, by what Linux says of them."""

from pathlib import Path

import pytest

from selfreward.server.cpu import computes_bf16


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512f avx512_bf16", True),
        ("fpu avx2 amx_bf16 amx_tile", True),
        ("fpu avx2 avx512f", False),
        ("fpu avx512_bf16x", False),
        ("", False),
    ],
)
def test_by_flags(flags: str, expected: bool, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: avx512_bf16\n\nprocessor\t: 1\n")
    assert computes_bf16(cpuinfo) is expected


def test_not_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert not computes_bf16(tmp_path / "cpuinfo")
