"""Reading safetensors as bytes: every float type's NaN and infinity is found, and broken files are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfreward.store.manifest import InvalidArtifact
from services.generator.checkpoints.tensors import all_finite, read_header


def write(file: Path, dtype: str, raw: bytes, shape: list[int]) -> None:
    header = json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(raw)]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + raw)


@pytest.mark.parametrize(
    ("dtype", "finite", "nan", "infinity"),
    [
        ("F64", np.float64(1.7e308).tobytes(), np.float64(np.nan).tobytes(), np.float64(-np.inf).tobytes()),
        ("F32", np.float32(3.4e38).tobytes(), np.float32(np.nan).tobytes(), np.float32(np.inf).tobytes()),
        ("F16", np.float16(65504).tobytes(), np.float16(np.nan).tobytes(), np.float16(-np.inf).tobytes()),
        ("BF16", b"\x7f\x7f", b"\xc0\x7f", b"\x80\xff"),
        ("F8_E5M2", b"\x7b", b"\x7e", b"\xfc"),
        ("F8_E4M3", b"\x7e", b"\x7f", b"\xff"),
    ],
)
def test_not_finite_in_every_float_type(tmp_path: Path, dtype: str, finite: bytes, nan: bytes, infinity: bytes) -> None:
    file = tmp_path / "model.safetensors"
    for last, expected in ((finite, True), (nan, False), (infinity, False)):
        write(file, dtype, finite * 6 + last, [7])
        assert all_finite(read_header(file)["x"]) is expected


def test_integers_are_finite(tmp_path: Path) -> None:
    write(tmp_path / "x", "I8", b"\x7f\xff", [2])
    assert all_finite(read_header(tmp_path / "x")["x"])


def test_what_safetensors_writes_is_read(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        "a": np.ones((3, 4), np.float32),
        "b": np.zeros((0, 4), np.float32),
        "c": np.ones((2,), np.float16),
    }
    save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    found = read_header(tmp_path / "x")
    assert {name: tensor.shape for name, tensor in found.items()} == {"a": (3, 4), "b": (0, 4), "c": (2,)}
    assert all(all_finite(tensor) for tensor in found.values())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "truncated"),
        (b"\x10\0\0\0\0\0\0\0{}", "truncated"),
        (b"\xff" * 8 + b"{}", "truncated"),
        (b"\x02\0\0\0\0\0\0\0[]", "header cannot be read"),
        (b"\x02\0\0\0\0\0\0\0{}more", "has 14 bytes, its tensors need 10"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(InvalidArtifact, match=r"model\.safetensors") as error:
        read_header(tmp_path / "model.safetensors")
    assert message in str(error.value)


def test_header_that_contradicts_itself(tmp_path: Path) -> None:
    write(tmp_path / "x", "F32", b"\0" * 8, [3])
    with pytest.raises(InvalidArtifact, match="not where its header says"):
        read_header(tmp_path / "x")
    write(tmp_path / "x", "F13", b"\0" * 8, [2])
    with pytest.raises(InvalidArtifact, match="'F13' is not known"):
        read_header(tmp_path / "x")
