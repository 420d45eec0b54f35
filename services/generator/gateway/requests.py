"""Checks request bodies and prepares them for the engine.

Checked are the model's name, fields that are not accepted here, and how much work a request asks for: number of
sequences and size of its grammar. The engine checks the rest itself.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from selfreward.server.errors import ApiError, not_json, why_not_json
from services.generator.engine.process import SERVED_NAME

# Fields that load code or data, reach other hosts, or name engine-internal ids. None is of use behind this gateway.
_FORBIDDEN = (
    "chat_template",
    "ec_transfer_params",
    "kv_transfer_params",
    "logits_processors",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "prompt_embeds",
    "request_id",
    "use_beam_search",
    "vllm_xargs",
)
_VERSION = re.compile(rf"{SERVED_NAME}@(\d+|none)")
_GENERATES = ("/v1/chat/completions", "/v1/completions")
# A grammar is compiled before it is used: one that is large, deep, or repeats much takes the engine's time and memory.
_GRAMMAR_FIELDS = ("structured_outputs", "response_format", "tools")
_MAX_GRAMMAR_BYTES = 16 << 10
_MAX_REPEAT = 10_000
_MAX_DEPTH = 64
_COUNTS = frozenset(
    f"{side}{what}" for side in ("min", "max") for what in ("Items", "Length", "Properties", "Contains")
)
_REPEAT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")


@dataclass(frozen=True)
class Prepared:
    """A checked body. `pin` is the version that it asks for, None for the newest; `salted`: it has a salt of its own.

    `generates`: the route generates tokens, and does not only tokenize.
    """

    body: dict[str, Any]
    pin: str | None
    stream: bool
    salted: bool
    generates: bool

    def content(self, label: str) -> bytes:
        """The body for the engine. Its salt keeps the prefixes that one version has cached from every other version."""
        extra = {"cache_salt": label.replace("@", "-")} if self.generates and not self.salted else {}
        return json.dumps({**self.body, "model": SERVED_NAME, **extra}).encode()


def prepare(route: str, raw: bytes, max_sequences: int, own_nucleus: bool = False) -> Prepared:
    """Parse and check the body of a request to `route`. Raises ApiError, which names field, value and remedy.

    With `own_nucleus` the engine gets `top_p` as an argument of our processor (`services/generator/engine/nucleus.py`).
    """
    # Parse.
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise not_json(error) from error
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is a JSON {type(body).__name__}, send an object", code="invalid_json")
    # Check.
    generates = route in _GENERATES
    pin = pinned(body.get("model", None if generates else SERVED_NAME))
    for name in _FORBIDDEN:
        if body.get(name):
            raise ApiError(400, f"{name} is not accepted here: leave it out", param=name, code="forbidden_field")
    if generates:
        _check_sequences(body, max_sequences)
        check_grammar(body)
    sent = {name: value for name, value in body.items() if name not in _FORBIDDEN}
    # The engine itself refuses any other value.
    top_p = sent.get("top_p")
    if own_nucleus and generates and isinstance(top_p, float) and 0 < top_p < 1:
        del sent["top_p"]
        sent["vllm_xargs"] = {"top_p": top_p}
    return Prepared(
        body=sent,
        pin=pin,
        stream=generates and bool(body.get("stream")),
        salted=body.get("cache_salt") is not None,
        generates=generates,
    )


def pinned(model: object) -> str | None:
    """The version that a model's name pins (`policy@N`); None for `policy` and `policy@latest`, the newest.

    Raises ApiError: 400 without a name, 404 for any other name.
    """
    if model is None or model == "":
        raise ApiError(400, "model is missing: write 'policy', or 'policy@N' for one version", "model", "missing_model")
    if model in (SERVED_NAME, f"{SERVED_NAME}@latest"):
        return None
    if isinstance(model, str) and _VERSION.fullmatch(model):
        return model
    raise ApiError(
        404,
        f"model {model!r} does not exist: write 'policy', or 'policy@N' for one version",
        "model",
        "model_not_found",
    )


def _check_sequences(body: dict[str, Any], max_sequences: int) -> None:
    n = body.get("n", 1)
    n = 1 if n is None else n
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ApiError(400, f"n = {n!r} is not a whole number above 0", "n", "invalid_n")
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    if n * prompts > max_sequences:
        raise ApiError(
            400,
            f"n = {n} for {prompts} prompts asks for {n * prompts} sequences, the most is {max_sequences}: send fewer",
            "n",
            "too_many_sequences",
        )


def check_grammar(body: dict[str, Any]) -> None:
    """Raise ApiError for a schema, regular expression or grammar that is too long, too deep, or repeats too often."""
    for field in _GRAMMAR_FIELDS:
        value = body.get(field)
        if value is None:
            continue
        if len(json.dumps(value)) > _MAX_GRAMMAR_BYTES:
            message = f"{field} is longer than {_MAX_GRAMMAR_BYTES} bytes: use a smaller grammar"
            raise ApiError(400, message, field, "too_long")
        _check_node(field, value, 0)


def _check_node(field: str, value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ApiError(400, f"{field} is nested deeper than {_MAX_DEPTH}: use a flatter grammar", field, "too_deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _COUNTS and isinstance(inner, int | float):
                _check_count(field, name, inner)
            # vLLM takes a schema as an object or as the text of one.
            _check_node(field, _parsed(field, inner) if name == "json" and isinstance(inner, str) else inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_node(field, inner, depth + 1)
    elif isinstance(value, str):
        for repeat in _REPEAT.finditer(value):
            for number in filter(None, repeat.groups()):
                _check_count(field, repeat.group(), float(number))


def _parsed(field: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"{field}.json is not JSON: {why_not_json(error)}", field, "invalid_json") from error


def _check_count(field: str, name: str, count: float) -> None:
    if not count <= _MAX_REPEAT:
        message = f"{field}: {name} repeats {count:g} times, the most is {_MAX_REPEAT}: use a smaller number"
        raise ApiError(400, message, field, "too_many_repeats")
