"""The base of all contracts: strict models, messages, content keys, names of policy versions."""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError


class Contract(BaseModel):
    """Base of everything that crosses a process boundary: immutable, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(Contract):
    """One chat turn. `tool` is what a tool returned."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


def as_messages(prompt: "str | Sequence[Message]") -> list[Message]:
    """A prompt as messages. A string is one user turn."""
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    return list(prompt)


def content_key(*parts: object) -> str:
    """An idempotency key of 32 hex digits over JSON-serialisable parts. Equal parts give equal keys on every
    machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def explain(error: ValidationError, *, values: bool = True) -> str:
    """One line for each problem: `key = value: what is wrong`. `values=False` leaves out values that may be secrets."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(whole)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key; check its spelling and section"
        value = "" if not values or problem["type"] == "value_error" else f" = {problem['input']!r}"
        lines.append(f"  {key} is missing: add it" if problem["type"] == "missing" else f"  {key}{value}: {message}")
    return "\n".join(lines)


def policy_label(version: int) -> str:
    """The public name of a policy version."""
    return f"policy@{version}"


def policy_number(label: str) -> int:
    """The number of a policy version; ValueError if `label` is not `policy@N`."""
    name, separator, number = label.partition("@")
    if name != "policy" or not separator or not number.isdecimal():
        raise ValueError(f"{label!r} is not a policy version: write 'policy@N', for example 'policy@3'")
    return int(number)


def is_policy_version(name: str) -> bool:
    """Whether a model's name pins its weights (`policy@N`). The weights of any other name may change."""
    try:
        policy_number(name)
    except ValueError:
        return False
    return True
