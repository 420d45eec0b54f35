"""Bounds on grammars in a request: the engine unrolls some repetitions, and one of 10^9 items ends it."""

import json
import re
from typing import Any

from services.generator.gateway.errors import ApiError

_FIELDS = ("structured_outputs", "response_format", "tools")
_MAX_BYTES = 16 << 10
_MAX_REPEAT = 10_000
_MAX_DEPTH = 64
_COUNTS = frozenset(
    f"{side}{what}" for side in ("min", "max") for what in ("Items", "Length", "Properties", "Contains")
)
_REPEAT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


def check_grammar(body: dict[str, Any]) -> None:
    """Raise ApiError for a schema, regex or grammar that is too long, too deep, or repeats something too often."""
    for field in _FIELDS:
        value = body.get(field)
        if value is None:
            continue
        if len(json.dumps(value)) > _MAX_BYTES:
            raise ApiError(400, f"{field} is longer than {_MAX_BYTES} bytes: use a smaller grammar", field, "too_long")
        _walk(field, value, 0)


def _walk(field: str, value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ApiError(400, f"{field} is nested deeper than {_MAX_DEPTH}: use a flatter grammar", field, "too_deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _COUNTS and isinstance(inner, int | float):
                _check_count(field, name, inner)
            # vLLM takes a schema as an object or as the text of one.
            _walk(field, _parsed(field, inner) if name == "json" and isinstance(inner, str) else inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _walk(field, inner, depth + 1)
    elif isinstance(value, str):
        for repeat in _REPEAT.finditer(value):
            for number in filter(None, repeat.groups()):
                _check_count(field, repeat.group(), float(number))


def _parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{field}.json is not JSON: {error}", field, "invalid_json") from error


def _check_count(field: str, name: str, count: float) -> None:
    if not count <= _MAX_REPEAT:
        message = f"{field}: {name} repeats {count:g} times, the most is {_MAX_REPEAT}: use a smaller number"
        raise ApiError(400, message, field, "too_many_repeats")
