"""What is within the bounds compiles fast: random regular expressions and schemas, compiled by the engine's library."""

import json
import random
import time
from importlib.util import find_spec
from typing import Any

import pytest

from services.generator.gateway.patterns import MOST, SMALL, Demand, PatternRefused, exceeded
from tests.support.places import M0

_SECONDS = 2.0


def regex(chance: random.Random, depth: int = 0) -> str:
    """A random regular expression, of the forms that cost most."""
    parts = []
    for _ in range(chance.randint(1, 6)):
        atom = chance.choice(["a", "[a-z]", ".", r"\d", r"\{", "[^]\\]]", "é", '"'])
        if depth < 4 and chance.random() < 0.4:
            atom = f"({regex(chance, depth + 1)})"
        count = chance.choice(
            ["", "", "?", "*", "+", f"{{{chance.randint(0, 99)}}}", f"{{1,{chance.randint(1, 9999)}}}"]
        )
        parts.append(atom + count)
    return chance.choice(["", "|"]).join(parts)


def schema(chance: random.Random, depth: int = 0) -> Any:
    """A random JSON schema."""
    kind = chance.choice(["string", "integer", "object", "array", "any"] if depth < 4 else ["string", "integer"])
    inner = [schema(chance, depth + 1) for _ in range(chance.randint(1, 4))] if depth < 4 else [{}]
    if kind == "string":
        return chance.choice(
            [{"type": "string", "maxLength": chance.randint(1, 9999)}, {"type": "string", "pattern": regex(chance, 2)}]
        )
    if kind == "array":
        return {"type": "array", "items": inner[0], "minItems": chance.choice([0, 2, 99, 9999])}
    if kind == "object":
        names = [f"p{number}" for number in range(chance.choice([1, 8, 90]))]
        return {"type": "object", "properties": {name: chance.choice(inner) for name in names}, "required": names[:1]}
    return {"anyOf": inner} if kind == "any" else {"type": kind}


def within(bound: Demand, kind: str, pattern: Any) -> bool:
    demand = Demand()
    try:
        demand.add_regex(pattern) if kind == "regex" else demand.add_schema(pattern)
    except PatternRefused:
        return False
    return exceeded(demand, bound) is None


@pytest.mark.skipif(find_spec("xgrammar") is None, reason="vllm is not installed")
def test_random_grammars_that_pass_without_a_trial_compile_at_once() -> None:
    from services.generator.gateway.trial_child import compile_grammar, tokenizer

    info, chance, compiled = tokenizer(M0), random.Random(7), 0
    for _ in range(400):
        kind = chance.choice(["regex", "json"])
        pattern = regex(chance) if kind == "regex" else schema(chance)
        text = pattern if kind == "regex" else json.dumps(pattern)
        if len(text) > 16 << 10 or not within(SMALL, kind, pattern):
            continue
        began = time.process_time()
        try:
            compile_grammar(info, kind, text)
        except RuntimeError:
            continue  # no regular expression, or a schema that the library does not know
        compiled += 1
        assert time.process_time() - began < _SECONDS, (kind, text)
    assert compiled > 50


@pytest.mark.parametrize(
    ("pattern", "demand"),
    [
        ("(a{3}b?){4}", Demand(repeats=12, quantifiers=3)),
        (r"\(a{3}\){4}", Demand(repeats=4, quantifiers=2)),
        ("[?*+{9}]{2}", Demand(repeats=2, quantifiers=1)),
        ("[]?]?x{}", Demand(repeats=1, quantifiers=1)),
        ("(a|b|c)", Demand(branches=2)),
        ("((a{10}){10}){10}", Demand(repeats=1000, quantifiers=3)),
    ],
)
def test_a_regular_expression_is_read_as_written(pattern: str, demand: Demand) -> None:
    found = Demand()
    found.add_regex(pattern)
    assert found == demand


@pytest.mark.parametrize(
    "pattern", ["a{10001}", "(a{101}){100}", "((((a{20}){20}){20}){20})", "a?" * 201, "[" * 500 + "a{99999}"]
)
def test_a_regular_expression_beyond_the_bounds_is_refused(pattern: str) -> None:
    assert within(MOST, "regex", pattern) == (pattern[0] == "[")  # all of that is one class, which never ends


def test_many_optional_properties_are_refused_and_required_ones_not() -> None:
    properties: dict[str, Any] = {f"p{number}": {} for number in range(150)}
    assert not within(MOST, "json", {"properties": properties})
    assert within(MOST, "json", {"properties": properties, "required": list(properties)})
