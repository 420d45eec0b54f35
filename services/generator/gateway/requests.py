"""Checks and prepares a request body: only what the gateway answers for; the engine checks the rest itself."""

import json
import re
from dataclasses import dataclass
from typing import Any

from services.generator.engine.process import SERVED_NAME
from services.generator.gateway.errors import ApiError
from services.generator.gateway.grammar import check_grammar

# Fields that load code or data, reach other hosts, or name engine-internal ids. None has a use behind this gateway.
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


@dataclass(frozen=True)
class Prepared:
    """A checked body. `pin` is the version it asks for, None for the newest; `salted`: the client set its own salt."""

    body: dict[str, Any]
    pin: str | None
    stream: bool
    salted: bool
    generates: bool

    def content(self, label: str) -> bytes:
        """The body for the engine, its prefix cache salted by version: no version sees another's prefixes."""
        extra = {"cache_salt": label.replace("@", "-")} if self.generates and not self.salted else {}
        return json.dumps({**self.body, "model": SERVED_NAME, **extra}).encode()


def prepare(route: str, raw: bytes, max_sequences: int) -> Prepared:
    """Parse and check a body. Raises ApiError naming field, value and remedy."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(body, dict):
        raise ApiError(400, f"the body is a JSON {type(body).__name__}, send an object", code="invalid_json")
    generates = route in _GENERATES
    pin = pinned(body.get("model", None if generates else SERVED_NAME))
    for name in _FORBIDDEN:
        if body.get(name):
            raise ApiError(400, f"{name} is not accepted here: leave it out", param=name, code="forbidden_field")
    if generates:
        _check_sequences(body, max_sequences)
        check_grammar(body)
    return Prepared(
        body={name: value for name, value in body.items() if name not in _FORBIDDEN},
        pin=pin,
        stream=generates and bool(body.get("stream")),
        salted=body.get("cache_salt") is not None,
        generates=generates,
    )


def pinned(model: object) -> str | None:
    """`policy` and `policy@latest` are the newest (None); `policy@N` pins. ApiError 404 for any other name."""
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


def _check_sequences(body: dict[str, Any], most: int) -> None:
    n = body.get("n", 1)
    n = 1 if n is None else n
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ApiError(400, f"n = {n!r} is not a whole number above 0", "n", "invalid_n")
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int) else 1
    if n * prompts > most:
        raise ApiError(
            400,
            f"n = {n} for {prompts} prompts asks for {n * prompts} sequences, the most is {most}: send fewer",
            "n",
            "too_many_sequences",
        )
