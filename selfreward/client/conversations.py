"""Prompts and answers as other tools write them, made into ours: a text, or chat messages in the usual dialects."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from selfreward.contracts.judging import Message

Conversation = str | list[Message]
ROLES = get_args(Message.model_fields["role"].annotation)


def conversation(value: Any, field: str) -> Conversation:
    """`value` as a text or as messages: a string, our messages, or mappings with `role` and `content`.

    Other keys of a message are left out; content may be a list of text parts (`{"type": "text", "text": ...}`).
    Raises ValueError naming `field`, what stands there and what should.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and value and not isinstance(value, bytes):
        return [_message(turn, f"{field}[{index}]") for index, turn in enumerate(value)]
    raise ValueError(f"{field} = {_shown(value)}: give a text, or a list of messages with role and content")


def split_last(messages: Conversation, field: str) -> tuple[Conversation, Conversation]:
    """The conversation up to the last turn, and that turn. ValueError unless an answer follows a prompt."""
    if isinstance(messages, str) or len(messages) < 2 or messages[-1].role != "assistant":
        raise ValueError(f"{field}: the last of at least two messages must be the assistant's: it is what is judged")
    return messages[:-1], [messages[-1]]


def _message(turn: Any, field: str) -> Message:
    if isinstance(turn, Message):
        return turn
    if not isinstance(turn, Mapping):
        raise ValueError(f"{field} = {_shown(turn)}: give a message with role and content")
    role = turn.get("role")
    if role not in ROLES:
        raise ValueError(f"{field}.role = {_shown(role)}: use one of {', '.join(ROLES)}")
    return Message.model_validate({"role": role, "content": _text(turn.get("content"), f"{field}.content")})


def _text(content: Any, field: str) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) and not isinstance(content, bytes) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None for part in parts]
    known = [text for text in texts if isinstance(text, str)]
    if not texts or len(known) < len(texts):
        raise ValueError(f"{field} = {_shown(content)}: give a text; only text can be judged")
    return "\n".join(known)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
