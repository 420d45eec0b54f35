"""What is judged of a conversation, in whatever form other tools send it: the one policy of HTTP routes and clients.

Text is judged. Tool calls and their results are written as text. Reasoning, null fields and a participant's name are
left out. Where nothing is left there is nothing to judge. What text cannot stand for (an image, audio, a file) is an
error that names it. docs/contracts.md has the policy as a table.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from selfreward.contracts.base import Message

Path = tuple[str | int, ...]

_ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
# The types of content parts with a text, and the key of the text.
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_REASONING = ("reasoning", "reasoning_text", "summary_text", "thinking", "redacted_thinking")
_CALLS = ("function_call", "custom_tool_call", "tool_use")
_RESULTS = ("function_call_output", "custom_tool_call_output", "tool_result")
_ONLY_TEXT = "only text can be judged: write what matters of it as text, or leave it out"
_GIVE_MESSAGES = "give a text, or a list of messages with role and content"


class NotText(ValueError):
    """Something in a conversation that cannot be judged as text.

    `path` leads to it from the conversation (`(0, "content", 1)`), `value` is what is there, `why` says what to do.
    """

    def __init__(self, path: Path, value: object, why: str, field: str = "") -> None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
        super().__init__(f"{field}{place} = {_abbreviate(value)}: {why}")
        self.path = path
        self.value = value
        self.why = why


def conversation(value: object, field: str = "") -> str | list[Message]:
    """A text as it is; one message or a list of them, of any chat format, as messages with a text each.

    The list is empty where nothing is said at all: for None, and for messages without a text or a tool call. Raises
    NotText, whose message begins with `field`.
    """
    try:
        return _conversation(value)
    except NotText as error:
        raise NotText(error.path, error.value, error.why, field) from None


def nothing_to_judge(**fields: str | list[Message] | None) -> str | None:
    """Which of the fields nothing is said in, as a reason to show; None where each has some text, be it blank."""
    empty = [name for name, value in fields.items() if value == []]
    return f"{' and '.join(empty)}: there is no text and no tool call to judge" if empty else None


def _validated(value: object) -> str | list[Message]:
    try:
        return _conversation(value)
    except NotText as error:
        # pydantic puts the path of the field before ours.
        kind = PydanticCustomError("not_text", "{why}", {"why": error.why})
        line = {"type": kind, "loc": error.path, "input": error.value}
        raise ValidationError.from_exception_data("conversation", [line]) from None  # type: ignore[list-item]


_MESSAGE = {
    "type": "object",
    "description": "A message of OpenAI's chat or Responses API, as clients dump it.",
    "properties": {"role": {"enum": [*_ROLES]}, "content": {"description": "A text, content parts, or null."}},
}
_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": _MESSAGE}, _MESSAGE, {"type": "null"}]}
Conversation = Annotated[str | list[Message], BeforeValidator(_validated), WithJsonSchema(_SCHEMA, mode="validation")]
"""The type of a field that takes a text or messages."""


def _conversation(value: object) -> str | list[Message]:
    if isinstance(value, str):
        return value
    turns = _listed(value)
    if isinstance(turns, Mapping):
        message = _message(turns, (), {})
        return [] if message is None else [message]
    if turns is None:
        return []
    if not isinstance(turns, Sequence) or isinstance(turns, bytes):
        raise NotText((), value, _GIVE_MESSAGES)
    messages, names = [], dict[str, str]()
    for index, turn in enumerate(turns):
        message = turn if isinstance(turn, Message) else _message(_listed(turn), (index,), names)
        if message is not None:
            messages.append(message)
    return messages


def _listed(value: object) -> object:
    """The plain form of an object of a client library (`model_dump`), or of an array of NumPy, as Parquet gives it."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    return value.tolist() if hasattr(value, "tolist") else value


def _message(turn: object, path: Path, names: dict[str, str]) -> Message | None:
    """One message, or an item of OpenAI's Responses API; None where nothing is said.

    `names` has the name of each tool by the id of its call.
    """
    if not isinstance(turn, Mapping):
        raise NotText(path, turn, "give a message with role and content")
    kind = turn.get("type")
    if kind in _CALLS:
        return Message(role="assistant", content=_call(turn, path, names))
    if kind in _RESULTS:
        return _result(turn, path, names)
    if kind in _REASONING:
        return None
    role = turn.get("role", "assistant" if kind == "message" else None)
    if role is None and kind not in (None, "message"):
        raise NotText(path, turn, _ONLY_TEXT)
    if not isinstance(role, str) or role not in _ROLES:
        raise NotText((*path, "role"), role, f"use one of {', '.join(_ROLES)}")
    if _ROLES[role] == "tool":
        return _result(turn, path, names)
    texts = [_content(turn.get("content"), (*path, "content"), names), *_said_otherwise(turn, path, names)]
    said = [text for text in texts if text is not None]
    # A text that is only blank counts where nothing else is said: it is an empty answer, not a missing one.
    return Message(role=_ROLES[role], content="\n".join(filter(None, said))) if said else None


def _said_otherwise(turn: Mapping[str, Any], path: Path, names: dict[str, str]) -> list[str | None]:
    """What a message says outside of `content`: a refusal, the transcript of audio, and calls of tools."""
    audio, images = turn.get("audio"), turn.get("images")
    transcript = audio.get("transcript") if isinstance(audio, Mapping) else None
    if audio is not None and transcript is None:
        raise NotText((*path, "audio"), audio, _ONLY_TEXT)
    if images:
        raise NotText((*path, "images"), images, _ONLY_TEXT)
    for key, said in (("refusal", turn.get("refusal")), ("audio", transcript)):
        if said is not None and not isinstance(said, str):
            raise NotText((*path, key), said, _ONLY_TEXT)
    listed = _listed(turn.get("tool_calls") or [])
    if not isinstance(listed, Sequence):
        raise NotText((*path, "tool_calls"), listed, "give a list of tool calls")
    calls = [((*path, "tool_calls", index), call) for index, call in enumerate(listed)]
    if turn.get("function_call"):
        calls.append(((*path, "function_call"), turn["function_call"]))
    return [turn.get("refusal"), transcript, *(_call(_listed(call), place, names) for place, call in calls)]


def _content(content: object, path: Path, names: dict[str, str]) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _part(content, path, names)
    parts = _listed(content)
    if not isinstance(parts, Sequence) or isinstance(parts, bytes):
        raise NotText(path, content, _ONLY_TEXT)
    texts = [_part(_listed(part), (*path, index), names) for index, part in enumerate(parts)]
    said = [text for text in texts if text is not None]
    return "\n".join(said) if said else None


def _part(part: object, path: Path, names: dict[str, str]) -> str | None:
    """The text of a content part; None for reasoning, and for a part that is null."""
    if part is None or isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        raise NotText(path, part, _ONLY_TEXT)
    if kind in _REASONING:
        return None
    if kind in _CALLS:
        return _call(part, path, names)
    if kind in _RESULTS:
        return _content(part.get("content"), (*path, "content"), names)
    text = part.get(_TEXTS[kind]) if kind in _TEXTS else part
    if text is None or isinstance(text, str):
        return text
    raise NotText(path, part, _ONLY_TEXT)


def _call(call: object, path: Path, names: dict[str, str]) -> str:
    """`Tool call: NAME(ARGUMENTS)`, the arguments as JSON."""
    details = call
    if isinstance(call, Mapping):
        details = _listed(call.get("function") or call.get("custom") or call)
    name = details.get("name") if isinstance(details, Mapping) else None
    if not isinstance(call, Mapping) or not isinstance(details, Mapping) or not isinstance(name, str):
        raise NotText(path, call, "give a tool call with the name of its function")
    for key in ("id", "call_id"):
        if isinstance(call.get(key), str):
            names[call[key]] = name
    given = next((details[key] for key in ("arguments", "input") if details.get(key) is not None), "")
    return f"Tool call: {name}({_as_text(given)})"


def _result(turn: Mapping[str, Any], path: Path, names: dict[str, str]) -> Message | None:
    """What a tool returned: `NAME: RESULT`, or the result alone where the tool's name is not known."""
    key = "output" if "output" in turn else "content"
    value = turn.get(key)
    text = _as_text(value) if isinstance(value, Mapping) else _content(value, (*path, key), names)
    called = next((turn[key] for key in ("tool_call_id", "call_id", "tool_use_id") if turn.get(key)), None)
    name = turn.get("name") or (names.get(called) if isinstance(called, str) else None)
    if text is None:
        return None
    return Message(role="tool", content=f"{name}: {text}" if name else text)


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _abbreviate(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
