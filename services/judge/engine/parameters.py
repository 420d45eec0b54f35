"""Which fields of a request this engine takes: as the settings say, and as its refusals show.

A refusal (400, 422) that names a field which the engine can do without is answered by the same request without it. What
was found out is remembered and logged once it has helped, so that a refusal for another reason changes nothing.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Set
from typing import Any, TypeVar

from selfreward.client.http import ServiceError
from services.judge.engine.faults import fault_of, setting_to_mend

Sent = TypeVar("Sent")
Refused = tuple[str, Any]
"""A refused field, and the value where another one might be taken."""

_REFUSALS = (400, 422)
_RENAMED = {"max_tokens": "max_completion_tokens"}
# Of several fields that a refusal names, the first is changed: an engine that takes no two of them keeps the last.
_ORDER = (
    *("max_tokens", "n", "top_logprobs", "logprobs", "seed", "top_p", "temperature"),
    *("reasoning_effort", "chat_template_kwargs"),
)
_BY_VALUE = ("top_logprobs", "top_p", "temperature", "reasoning_effort")
_UNKNOWN = re.compile(
    r"max_completion_tokens|unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed",
    re.IGNORECASE,
)
"""What a refusal says of a field that is not taken at all. Others say of its value that it is too large."""
_NAMING = ("param", "loc", "field")
_ECHOES = ("input", "ctx", "url")
"""Fields of an error that repeat the request, whose texts name nothing."""
_N = re.compile(
    r"""['"`]n['"`]|\bn ?(?:[:=>]|value\b|must\b|should\b|is\b)|candidate_?count"""
    r"|\bone (?:completion )?(?:choice|candidate)|multiple (?:choices|completions|candidates)",
    re.IGNORECASE,
)
_log = logging.getLogger(__name__)


class Parameters:
    """The fields that requests to one engine have. `configured` are added to each; those that are None are left out."""

    def __init__(self, configured: Mapping[str, Any]) -> None:
        self._configured = configured
        self._refused: set[Refused] = set()
        self._finding_out = asyncio.Lock()

    @property
    def one_choice(self) -> bool:
        """Whether the engine gives one choice for each request."""
        return ("n", None) in self._refused

    def configure(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The request as the settings say."""
        return {name: value for name, value in {**body, **self._configured}.items() if value is not None}

    async def send(self, body: Mapping[str, Any], post: Callable[[Mapping[str, Any]], Awaitable[Sent]]) -> Sent:
        """What `post` returns for the request in the form that the engine takes. Raises as `post` does."""
        while True:
            fitted = fit(body, self._refused)
            try:
                return await post(fitted)
            except ServiceError as error:
                refused = refused_field(error, fitted)
                if refused is None:
                    raise
            # One request finds out, and the others wait for it.
            async with self._finding_out:
                if fit(body, self._refused) == fitted:
                    return await self._find_out(body, post, refused)

    async def _find_out(
        self, body: Mapping[str, Any], post: Callable[[Mapping[str, Any]], Awaitable[Sent]], refused: Refused
    ) -> Sent:
        found: list[Refused] = [refused]
        while True:
            fitted = fit(body, self._refused | set(found))
            try:
                sent = await post(fitted)
            except ServiceError as error:
                another = refused_field(error, fitted)
                if another is None:
                    raise
                found.append(another)
            else:
                for each in found:
                    self.note(each)
                return sent

    def note(self, refused: Refused) -> None:
        """Remember a refused field."""
        if refused not in self._refused:
            self._refused.add(refused)
            name, value = refused
            told = {"parameter": name, "value": value, "instead": _RENAMED.get(name)}
            _log.warning("the judging engine does not take a parameter, which is left out from now on", extra=told)


def fit(body: Mapping[str, Any], refused: Set[Refused]) -> dict[str, Any]:
    """The request without its refused fields, some of which have another name."""
    fitted = {}
    for name, value in body.items():
        if _refusal(name, body) not in refused:
            fitted[name] = value
        elif name in _RENAMED:
            fitted[_RENAMED[name]] = value
    return fitted


def refused_field(error: ServiceError, body: Mapping[str, Any]) -> Refused | None:
    """The field of the request that a refusal names, if the engine can do without it or knows it by another name."""
    message = error.body or str(error)
    if error.status not in _REFUSALS or fault_of(error.status, message).status != "error":
        return None
    if setting_to_mend(error.status, message):
        return None
    try:
        texts = list(_texts(json.loads(message), ""))
    except (ValueError, RecursionError):
        texts = [("", message)]
    for name in _ORDER:
        if name in _RENAMED and not _UNKNOWN.search(message):
            continue
        if name in body and any(_names(name, key, text) for key, text in texts):
            return _refusal(name, body)
    return None


def _refusal(name: str, body: Mapping[str, Any]) -> Refused:
    if name == "logprobs":
        return _refusal("top_logprobs", body)  # the one is not taken without the other
    return name, body.get(name) if name in _BY_VALUE else None


def _names(name: str, key: str, text: str) -> bool:
    if key in _NAMING and text == name:
        return True
    pattern = _N if name == "n" else re.compile(rf"(?<!\w){name}(?!\w)")
    return pattern.search(text) is not None


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """All texts in an error, each with the key that it is at."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _ECHOES:
                yield from _texts(item, name)
