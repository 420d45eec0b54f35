"""Checks request bodies and prepares them for the engine.

Checked are the model's name, fields that are not accepted here, and how much work a request asks for: number of
sequences and size of its grammar. The engine checks the rest itself.
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from selfreward.server.errors import ApiError, not_json
from services.generator.engine.process import SERVED_NAME
from services.generator.gateway.grammars import Grammar, check_grammars

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
# The engine tokenizes on the thread that serves everybody.
_TOKENIZES = ("/tokenize", "/detokenize")
_MAX_TOKENIZED_BYTES = 256 << 10
# Log-probabilities of a prompt are computed for the whole vocabulary at each place, past every cache.
_MAX_SCORED = 32 << 10


@dataclass(frozen=True)
class Prepared:
    """A checked body. `pin` is the version that it asks for, None for the newest; `salted`: it has a salt of its own.

    `generates`: the route generates tokens, and does not only tokenize. `grammars` are to be compiled for a trial.
    """

    body: dict[str, Any]
    pin: str | None
    stream: bool
    salted: bool
    generates: bool
    grammars: tuple[Grammar, ...] = ()

    def content(self, label: str) -> bytes:
        """The body for the engine. Its salt keeps the prefixes that one version has cached from every other version."""
        extra = {"cache_salt": label.replace("@", "-")} if self.generates and not self.salted else {}
        return json.dumps({**self.body, "model": SERVED_NAME, **extra}).encode()


def prepare(
    route: str,
    raw: bytes,
    max_sequences: int,
    own_nucleus: bool = False,
    constraints: Collection[str] = ("json", "regex", "choice"),
) -> Prepared:
    """Parse and check the body of a request to `route`. Raises ApiError, which names field, value and remedy.

    `constraints` are the kinds of structured outputs that may be asked for. With `own_nucleus` the engine gets `top_p`
    as an argument of our processor (`services/generator/engine/nucleus.py`).
    """
    # Parse.
    if route in _TOKENIZES and len(raw) > _MAX_TOKENIZED_BYTES:
        message = f"the body has {len(raw)} bytes, the most here is {_MAX_TOKENIZED_BYTES}: send shorter texts"
        raise ApiError(413, message, code="body_too_long")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise not_json(error) from error
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is a JSON {type(body).__name__}, send an object", code="invalid_json")
    # Check.
    _check_values(raw, body)
    generates = route in _GENERATES
    pin = pinned(body.get("model", None if generates else SERVED_NAME))
    for name in _FORBIDDEN:
        if body.get(name):
            raise ApiError(400, f"{name} is not accepted here: leave it out", param=name, code="forbidden_field")
    grammars: tuple[Grammar, ...] = ()
    if generates:
        _check_sequences(body, max_sequences)
        _check_scored(body)
        grammars = check_grammars(body, constraints)
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
        grammars=grammars,
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


def _check_values(raw: bytes, body: dict[str, Any]) -> None:
    """Refuse what JSON can say and the engine answers with 500: halves of surrogate pairs, and numbers of no type."""
    try:
        # In UTF-8 only an escape can bring one in; looking for it spares nearly all bodies the second step.
        if "\\u" in raw.decode():
            json.dumps(body, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise not_json(error) from error
    except UnicodeEncodeError as error:
        message = f"a text has half of a surrogate pair ({error.object[error.start]!a}): send valid Unicode"
        raise ApiError(400, message, code="invalid_unicode") from error
    for name, value in body.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ApiError(400, f"{name} is beyond 64 bits: send a smaller number", name, "invalid_number")
        if isinstance(value, float) and not math.isfinite(value):
            raise ApiError(
                400, f"{name} = {value} is no finite number: send one, or leave it out", name, "invalid_number"
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


def _check_scored(body: dict[str, Any]) -> None:
    """Bound the prompts whose log-probabilities are asked for (`echo` with `logprobs`, or `prompt_logprobs`)."""
    echoed = body.get("echo") and body.get("logprobs") is not None
    if not echoed and body.get("prompt_logprobs") is None:
        return
    length = _length(body.get("prompt", body.get("messages")))
    if length > _MAX_SCORED:
        message = (
            f"log-probabilities of {length} characters or tokens of prompts are asked for, the most is {_MAX_SCORED}: "
            "send fewer prompts in one request, or shorter ones"
        )
        raise ApiError(400, message, "prompt_logprobs" if not echoed else "echo", "too_long")


def _length(prompt: object) -> int:
    """Characters or token ids of a prompt, of several, or of messages."""
    if isinstance(prompt, str):
        return len(prompt)
    if isinstance(prompt, list):
        return sum(1 if isinstance(each, int) else _length(each) for each in prompt)
    return len(json.dumps(prompt))
