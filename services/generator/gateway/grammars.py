"""Which structured outputs a request may ask for: their kinds, their size, and what remains to be compiled for a trial.

A grammar is compiled before it is used, by the thread that serves everybody. What is large, deep, or repeats much takes
the engine's time and memory, or ends it.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from selfreward.server.errors import ApiError, why_not_json
from services.generator.gateway.patterns import MOST, SMALL, Demand, PatternRefused, exceeded

Constraint = Literal["json", "regex", "choice", "grammar", "structural_tag"]
_MAX_BYTES = 16 << 10
_MAX_CHOICES = 256
# What else may stand beside the constraint.
_OPTIONS = {"json_object", "disable_any_whitespace", "disable_additional_properties", "whitespace_pattern"}


@dataclass(frozen=True)
class Grammar:
    """A schema or regular expression that is within the bounds, and yet may be slow to compile. `field` has it."""

    field: str
    kind: Literal["json", "regex"]
    text: str


def check_grammars(body: dict[str, Any], allowed: Collection[str]) -> tuple[Grammar, ...]:
    """What has to be compiled for a trial before the engine may see it. Raises ApiError, which names the field."""
    trials = []
    for field in ("structured_outputs", "response_format", "tools"):
        if body.get(field) is None:
            continue
        if len(json.dumps(body[field])) > _MAX_BYTES:
            message = f"{field} is longer than {_MAX_BYTES} bytes: use a smaller grammar"
            raise ApiError(400, message, field, "too_long")
        for kind, value in _constraints(field, body[field]):
            if kind not in allowed:
                remedy = "add it to SELFREWARD_STRUCTURED_OUTPUTS where all callers are trusted"
                message = f"{field}: {kind} is not accepted here: use {', '.join(allowed)}, or {remedy}"
                raise ApiError(400, message, field, "forbidden_field")
            try:
                trial = _bounded(field, kind, value)
            except PatternRefused as refused:
                raise ApiError(400, f"{field}: {refused}", field, refused.code) from refused
            if trial is not None:
                trials.append(trial)
    return tuple(trials)


def _constraints(field: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Kind and content of each constraint in a field, wherever OpenAI's and vLLM's forms have it."""
    if field == "tools":
        for tool in value if isinstance(value, list) else []:
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict) and function.get("parameters") is not None:
                yield "json", function["parameters"]
    elif not isinstance(value, dict):
        # The engine says what is wrong with it.
        return
    elif field == "response_format":
        kind, schema = value.get("type"), value.get("json_schema")
        if kind not in (None, "text", "json_object", "json_schema"):
            yield str(kind), value
        elif isinstance(schema, dict):
            yield "json", schema.get("schema")
    else:
        for name, inner in value.items():
            if name in _OPTIONS or inner is None:
                continue
            yield name, inner
        if isinstance(value.get("whitespace_pattern"), str):
            yield "regex", value["whitespace_pattern"]


def _bounded(field: str, kind: str, value: Any) -> Grammar | None:
    """The grammar, if it is within the bounds and not surely small. Kinds that only a setting allows are not looked at.

    Raises PatternRefused, or ApiError for a schema that is no JSON.
    """
    if kind == "choice":
        if isinstance(value, list) and len(value) > _MAX_CHOICES:
            raise PatternRefused(f"has {len(value)} choices, the most is {_MAX_CHOICES}: use fewer", "too_many_choices")
        return None
    if kind not in ("json", "regex"):
        return None
    demand = Demand()
    if kind == "regex":
        text = value if isinstance(value, str) else ""
        demand.add_regex(text)
    else:
        # vLLM takes a schema as an object or as the text of one.
        schema = _parsed(field, value) if isinstance(value, str) else value
        text = json.dumps(schema)
        demand.add_schema(schema)
    if reason := exceeded(demand, MOST):
        raise PatternRefused(f"the {kind} {reason}: use a smaller one", "too_complex")
    return Grammar(field, "json" if kind == "json" else "regex", text) if exceeded(demand, SMALL) else None


def _parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{field}.json is not JSON: {why_not_json(error)}", field, "invalid_json") from error
