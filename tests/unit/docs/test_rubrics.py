"""docs/rubrics.md: every field of a rubric with its default, and every kind with its placeholders, label and route."""

import re
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from services.judge.rubrics.spec import KINDS, DebateSpec, RubricSampling, RubricSpec, Scale
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "rubrics.md").read_text()
ROWS = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in PAGE.splitlines() if line[:2] == "| "]
TABLES: dict[str, type[BaseModel]] = {"scale": Scale, "debate": DebateSpec, "sampling": RubricSampling}


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """All fields with their defaults, those of tables as `table.field`."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field.default
        if not prefix and name in TABLES:
            yield from fields(TABLES[name], f"{name}.")


def test_every_field_has_a_row_with_its_default() -> None:
    documented = {name: row[2] for row in ROWS for name in re.findall(r"`([\w.]+)`", row[0])}
    wrong = []
    for name, default in fields(RubricSpec):
        said = documented.get(name)
        plain = isinstance(default, int | float) and not isinstance(default, bool)
        if said is None or (default is PydanticUndefined and said != "required"):
            wrong.append(name)
        elif plain and f"{default:g}" not in re.split(r"[ ,]+", said):
            wrong.append(f"{name}: {default:g}, not {said}")
        elif isinstance(default, bool) and str(default).lower() != said:
            wrong.append(f"{name}: {default}, not {said}")
    assert wrong == []


def test_every_kind_has_a_row() -> None:
    rows = {row[0].strip("`"): row for row in ROWS}
    for kind, shape in KINDS.items():
        assert rows[kind][3:] == [f"`{shape.label}`", f"`{shape.route}`"]
        last = re.findall(r"\{(\w+)\}", rows[kind][2])
        assert set(last) <= {*shape.required, *shape.optional, "side"}
