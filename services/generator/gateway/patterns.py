"""What a regular expression or a JSON schema asks of the engine's compiler, by parsing and without compiling."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Keywords of JSON Schema by what they hold. Everything else is text or data, whatever it looks like.
_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMA = (
    *("items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties"),
    *("propertyNames", "not", "if", "then", "else"),
)
_COUNTS = tuple(f"{side}{what}" for side in ("min", "max") for what in ("Items", "Length", "Properties", "Contains"))
# A reference elsewhere could lead to what is not looked at here, such as the value of a `default`.
_REFERENCE = re.compile(r"#(/(\$defs|definitions)/[^/]+)?")
_BRACES = re.compile(r"\{(\d*)(,?)(\d*)\}")
_MAX_DEPTH = 64


class PatternRefused(ValueError):
    """A pattern that asks for too much. `code` is for programs."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Demand:
    """What a pattern asks for, counted by `add_regex` and `add_schema`. They raise PatternRefused beyond the bounds.

    `repeats` is the largest product of nested repeats, `quantifiers` how many there are, `properties` how many of all
    objects, `optional` the most of one object that may be left out, `branches` how many alternatives there are.
    """

    repeats: float = 1
    quantifiers: int = 0
    properties: int = 0
    optional: int = 0
    branches: int = 0

    def add_regex(self, pattern: str, times: float = 1) -> None:
        """Count a regular expression that is repeated `times`."""
        _Regex(pattern, self).read(times)

    def add_schema(self, schema: Any, times: float = 1, depth: int = 0) -> None:
        """Count a JSON schema."""
        if depth > _MAX_DEPTH:
            raise PatternRefused(f"is nested deeper than {_MAX_DEPTH}: use a flatter schema", "too_deep")
        if not isinstance(schema, dict):
            return
        reference = schema.get("$ref", "#")
        if not (isinstance(reference, str) and _REFERENCE.fullmatch(reference)):
            message = f"$ref = {reference!r} is not accepted here: refer to '#/$defs/NAME'"
            raise PatternRefused(message, "forbidden_reference")
        # Counts.
        counts = {name: schema[name] for name in _COUNTS if isinstance(schema.get(name), int | float)}
        for name, count in counts.items():
            self._repeat(name, count, times)
        inner = times * max([1, *(count for name, count in counts.items() if name.endswith("Items"))])
        # Patterns.
        if isinstance(schema.get("pattern"), str):
            self.add_regex(schema["pattern"], times)
        for pattern in _mapping(schema, "patternProperties"):
            self.add_regex(pattern, times)
        # Objects.
        named, required = _mapping(schema, "properties"), schema.get("required")
        optional = set(named) - set(required if isinstance(required, list) and _all_text(required) else [])
        self.properties += len(named)
        self.optional = max(self.optional, len(optional))
        # What is inside.
        for keyword in _SCHEMAS:
            for value in _mapping(schema, keyword).values():
                self.add_schema(value, times, depth + 1)
        for keyword in (*_LISTS, *_SCHEMA):
            value = schema.get(keyword)
            values = value if isinstance(value, list) else [value]
            self.branches += len(values) if isinstance(value, list) else 0
            for each in values:
                self.add_schema(each, inner if keyword in ("items", "contains") else times, depth + 1)

    def _repeat(self, name: str, count: float, times: float) -> None:
        if not count * times <= MOST.repeats:
            message = f"{name} repeats {count:g} times, {count * times:g} with what is around it, the most is "
            raise PatternRefused(f"{message}{MOST.repeats:g}: use a smaller number", "too_many_repeats")
        self.repeats = max(self.repeats, count * times)


MOST = Demand(repeats=10_000, quantifiers=200, properties=256, optional=100, branches=256)
"""What a pattern may ask for."""
SMALL = Demand(repeats=16, quantifiers=8, branches=64)
"""What is surely compiled at once: `.{16}` takes 55 ms with a vocabulary of 49,152."""


def exceeded(demand: Demand, bound: Demand) -> str | None:
    """The first thing of which `demand` has more than `bound`, and both numbers; None when it is within."""
    for name, most in vars(bound).items():
        if vars(demand)[name] > most:
            return f"has {vars(demand)[name]:g} {name}, the most is {most:g}"
    return None


class _Regex:
    """Reads a regular expression once, from left to right.

    Only what repeats matters: groups, quantifiers and alternatives. Escapes and classes are skipped. A pattern that is
    no regular expression is read all the same, and refused by the engine's compiler.
    """

    def __init__(self, pattern: str, demand: Demand) -> None:
        self._pattern = pattern
        self._demand = demand
        self._at = 0

    def read(self, times: float) -> None:
        """Count everything, from the inside of groups outwards."""
        # The largest repeat within each open group, and within the atom before the place that is read.
        groups: list[float] = [1]
        atom: float = 1
        while self._at < len(self._pattern):
            char = self._pattern[self._at]
            if char == "(":
                if len(groups) > _MAX_DEPTH:
                    raise PatternRefused(f"is nested deeper than {_MAX_DEPTH}: use fewer groups", "too_deep")
                groups.append(1)
                atom = 1
            elif char == ")" and len(groups) > 1:
                atom = groups.pop()
                groups[-1] = max(groups[-1], atom)
            elif (count := self._quantifier()) is not None:
                atom *= count
                self._demand.quantifiers += 1
                self._demand._repeat(repr(self._pattern[:40]), atom, times)
                groups[-1] = max(groups[-1], atom)
                continue
            else:
                self._demand.branches += char == "|"
                self._skip_atom(char)
                atom = 1
                continue
            self._at += 1

    def _quantifier(self) -> float | None:
        """How often the quantifier here repeats, and go past it; None where there is none."""
        char = self._pattern[self._at]
        if char in "?*+":
            self._at += 1
            return 1
        braces = _BRACES.match(self._pattern, self._at) if char == "{" else None
        if braces is None or not (braces[1] or braces[3]):
            return None
        self._at = braces.end()
        return max(1.0, *(float(number) for number in (braces[1], braces[3]) if number))

    def _skip_atom(self, char: str) -> None:
        if char == "\\":
            self._at += 2
            return
        if char == "[":
            # A closing bracket at once is a member, as is one that is escaped.
            end = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL).match(self._pattern, self._at)
            self._at = end.end() if end else len(self._pattern)
            return
        self._at += 1


def _mapping(schema: Mapping[str, Any], keyword: str) -> dict[str, Any]:
    value = schema.get(keyword)
    return value if isinstance(value, dict) else {}


def _all_text(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
