"""A table as text cells, and how figures are written in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Figure = dict[str, Any] | None
DASH = "–"


@dataclass(frozen=True)
class Table:
    """A titled table. `rows` hold one text cell for each column; the first column names the row."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def percent(figure: Figure) -> str:
    """`value [low, high]` of a share, in per cent."""
    return number(figure, scale=100.0, digits=1)


def number(figure: Figure, scale: float = 1.0, digits: int = 2) -> str:
    """`value [low, high]`, or a dash when nothing was measured."""
    if figure is None or figure["value"] is None:
        return DASH
    text = f"{figure['value'] * scale:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low'] * scale:.{digits}f}, {figure['high'] * scale:.{digits}f}]"
