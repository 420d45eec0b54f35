"""Reads safetensors files without torch: names and shapes from the header, and whether all values are finite."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfreward.store.manifest import InvalidArtifact

_MAX_HEADER = 100 << 20
_CHUNK = 1 << 22

# A float is NaN or infinite exactly when all its exponent bits are 1, so its bits are enough for every float type, also
# for those that numpy does not have (bfloat16). E4M3 has no infinity, and its NaN has all bits of the mantissa as well.
# By type: the integer of the same width, and the mask of these bits.
_NOT_FINITE: dict[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "F64": (np.uint64, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7F80_0000),
    "F16": (np.uint16, 0x7C00),
    "BF16": (np.uint16, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F),
}
# Bytes of the other types.
_INTEGERS = {"I64": 8, "U64": 8, "I32": 4, "U32": 4, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `begin` is the offset of its first byte in `file`, `size` its length in bytes."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    size: int


def read_header(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises InvalidArtifact when its header does not match its size."""
    # The file begins with the header's length.
    length = file.stat().st_size
    with file.open("rb") as stream:
        header_size = int.from_bytes(stream.read(8), "little")
        if length < 8 or header_size > min(length - 8, _MAX_HEADER):
            raise InvalidArtifact(
                f"{file}: {length} bytes cannot hold its header; the file is truncated, publish again"
            )
        raw = stream.read(header_size)
    try:
        header = json.loads(raw)
        tensors = {name: _tensor(file, 8 + header_size, entry) for name, entry in header.items() if name[:2] != "__"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArtifact(f"{file}: its safetensors header cannot be read ({error}); publish again") from error
    # Tensors follow the header and each other without gaps.
    expected = 8 + header_size
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin != expected or tensor.size != _byte_size(tensor):
            raise InvalidArtifact(f"{file}: tensor {name!r} is not where its header says; publish again")
        expected += tensor.size
    if expected != length:
        raise InvalidArtifact(f"{file}: has {length} bytes, its tensors need {expected}; truncated, publish again")
    return tensors


def _tensor(file: Path, start: int, entry: dict[str, Any]) -> Tensor:
    begin, end = (int(offset) for offset in entry["data_offsets"])
    return Tensor(file, str(entry["dtype"]), tuple(int(n) for n in entry["shape"]), start + begin, end - begin)


def _byte_size(tensor: Tensor) -> int:
    if tensor.dtype in _NOT_FINITE:
        width = np.dtype(_NOT_FINITE[tensor.dtype][0]).itemsize
    elif tensor.dtype in _INTEGERS:
        width = _INTEGERS[tensor.dtype]
    else:
        raise InvalidArtifact(f"{tensor.file}: data type {tensor.dtype!r} is not known; save as F32, BF16 or F16")
    return math.prod(tensor.shape) * width


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor has neither NaN nor infinity; integers never have. Reads a few MiB at a time."""
    if tensor.dtype not in _NOT_FINITE:
        return True
    kind, mask = _NOT_FINITE[tensor.dtype]
    count = tensor.size // np.dtype(kind).itemsize
    if count == 0:
        return True
    bits = np.memmap(tensor.file, dtype=np.uint8, mode="r", offset=tensor.begin, shape=(tensor.size,)).view(kind)
    return not any(
        bool(np.any((bits[first : first + _CHUNK] & kind(mask)) == kind(mask))) for first in range(0, count, _CHUNK)
    )
