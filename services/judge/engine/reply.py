"""Read the engine's reply to one request. Whatever a successful answer holds, it is a completion or a fault for each
vote, and never an exception.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.judge.engine.faults import Fault, fault_of

_MOST_SHOWN = 200
# Finish reasons of providers that have words of their own, and OpenAI's for the same.
_FINISH_REASONS = {
    **dict.fromkeys(("max_tokens", "max_length", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("sensitive", "safety", "refusal", "content_filtered", "prohibited_content"), "content_filter"),
    **dict.fromkeys(("blocklist", "recitation", "guardrail_intervened"), "content_filter"),
    **dict.fromkeys(("network_error", "insufficient_system_resource", "abort"), "error"),
}
_REASONING_PARTS = ("thinking", "reasoning", "reasoning_content", "reasoning_text", "redacted_thinking")
_TEXT_FIELDS = ("text", "thinking", "reasoning", "content", "summary")


class Completion(NamedTuple):
    """One sampled text as the engine returned it.

    `logprobs` is `choices[].logprobs.content` of the reply, where log-probabilities were requested. `reasoning` is what
    the engine returned beside the text. With a `fault` there is no text.
    """

    text: str
    finish_reason: str | None
    refusal: str | None
    logprobs: Sequence[Mapping[str, Any]] | None = None
    reasoning: str | None = None
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class EngineReply:
    """The reply to one request: all completions, by one policy version, and their token counts."""

    completions: list[Completion]
    version: str
    prompt_tokens: int
    completion_tokens: int

    @property
    def is_failed(self) -> bool:
        """Whether nothing in it was sampled, so that its version says nothing."""
        return all(completion.fault is not None for completion in self.completions)


def read_reply(content: bytes, version: str, votes: int) -> EngineReply:
    """The reply in the body of a successful answer to a request for so many votes."""
    try:
        data = json.loads(content)
        if isinstance(data, list) and len(data) == 1:
            (data,) = data
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        choices = data.get("choices")
        if not choices and data.get("error"):
            return _failed(_fault_in(data["error"]), version, votes)
        if not isinstance(choices, list):
            raise ValueError("it has no list of choices")
        completions = [_read_choice(choice) for choice in choices]
    except (ValueError, RecursionError) as error:
        shown = content[:_MOST_SHOWN].decode(errors="replace")
        reason = f"the engine did not answer with a chat completion ({error}): {shown}"
        return _failed(Fault("error", reason), version, votes)
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return EngineReply(completions, version, _count(counts, "prompt_tokens"), _count(counts, "completion_tokens"))


def failed_completion(fault: Fault) -> Completion:
    """The completion that there is not."""
    return Completion("", None, None, fault=Fault(fault.status, _clean(fault.reason)))


def _failed(fault: Fault, version: str, votes: int) -> EngineReply:
    return EngineReply([failed_completion(fault)] * votes, version, 0, 0)


def _fault_in(error: Any) -> Fault:
    """The fault that an error within a successful answer is."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 400
    return fault_of(status, f"the engine answered with an error: {json.dumps(error)[:500]}")


def _read_choice(choice: Any) -> Completion:
    message = choice.get("message") if isinstance(choice, dict) else None
    if isinstance(choice, dict) and choice.get("error"):
        return failed_completion(_fault_in(choice["error"]))
    if not isinstance(message, dict):
        return failed_completion(Fault("error", f"the engine's choice has no message: {choice!r:.{_MOST_SHOWN}}"))
    text, thoughts, refusal = _read_content(message.get("content"))
    reasoning = _texts(message.get("reasoning_content")) or _texts(message.get("reasoning")) or thoughts
    refusal = _texts(message.get("refusal")) or refusal
    finish = choice.get("finish_reason")
    return Completion(
        _clean(text),
        _clean(_FINISH_REASONS.get(finish.lower(), finish)) if isinstance(finish, str) else None,
        _clean(refusal) if refusal else None,
        _read_logprobs(choice.get("logprobs")),
        _clean(reasoning) if reasoning else None,
    )


def _read_content(content: Any) -> tuple[str, str, str]:
    """The text, the reasoning and the refusal in a message's content: a string, null, or a list of parts.

    Texts are one text unless reasoning stands between them.
    """
    if not isinstance(content, list):
        return _texts(content), "", ""
    text, thoughts, refusal = "", "", ""
    between = False
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind in _REASONING_PARTS:
            thoughts, between = thoughts + _texts(part), bool(text)
        elif kind == "refusal":
            refusal += _texts(part.get("refusal"))
        else:
            text, between = text + "\n" * between + _texts(part), False
    return text, thoughts, refusal


def _texts(value: Any) -> str:
    """All text in a string, a list of parts or a part; of other values none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_texts(part) for part in value)
    if isinstance(value, dict):
        return next((text for name in _TEXT_FIELDS if (text := _texts(value.get(name)))), "")
    return ""


def _read_logprobs(logprobs: Any) -> Sequence[Mapping[str, Any]] | None:
    """The tokens with their probabilities, if all have the form of OpenAI's chat completions."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not all(_is_token(token) for token in content):
        return None
    return content


def _is_token(token: Any) -> bool:
    if not isinstance(token, dict) or not isinstance(token.get("token"), str):
        return False
    top, listed = token.get("top_logprobs") or [], token.get("bytes") or []
    return (
        isinstance(top, list)
        and all(isinstance(other, dict) and "token" in other and _is_logprob(other.get("logprob")) for other in top)
        and isinstance(listed, list)
        and all(isinstance(byte, int) and 0 <= byte < 256 for byte in listed)
    )


def _is_logprob(value: Any) -> bool:
    """Whether it is the logarithm of a probability. Engines round, so that it may be a little over 0."""
    return isinstance(value, int | float) and (-1e9 < value < 0.01 or value == -math.inf)


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return int(value) if isinstance(value, int | float) and 0 < value < 1e12 else 0


def _clean(text: str) -> str:
    """The text without lone surrogates, which JSON can carry and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
