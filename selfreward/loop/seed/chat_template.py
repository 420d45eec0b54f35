"""A model's chat template, filled as transformers and the engine fill it, to refuse rows that it refuses.

It is a program that came with the model, so it runs in Jinja's sandbox.
"""

import functools
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selfreward.contracts.base import Message

Render = Callable[[Sequence[Message]], str]
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's text for training and changes nothing of it."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def load_template(folder: Path) -> Render | None:
    """The template of a checkpoint folder as a function of a conversation; None where it has none.

    A prompt, which ends with the user's turn, ends in the text where the assistant begins. The function raises
    ValueError with the template's words for a conversation that it refuses.
    """
    config = _read(folder / "tokenizer_config.json")
    source = _source(folder, config)
    if source is None:
        return None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    special = _read(folder / "special_tokens_map.json") | config
    tokens = {name: _token(special.get(name)) for name in _SPECIAL}
    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise ValueError(f"the chat template of {folder} cannot be read: {error}") from error

    def render(messages: Sequence[Message]) -> str:
        turns = [message.model_dump() for message in messages]
        try:
            return template.render(messages=turns, add_generation_prompt=turns[-1]["role"] == "user", **tokens)
        except Exception as error:  # whatever the model's own program does
            raise ValueError(f"the chat template of {folder} refuses it: {error}") from error

    return render


def check_of(folder: Path) -> Callable[[Sequence[Message]], None] | None:
    """`check_conversation` by the template of a checkpoint folder; None where it has none."""
    render = load_template(folder)
    return None if render is None else functools.partial(check_conversation, render)


def check_conversation(render: Render, messages: Sequence[Message]) -> None:
    """Raise ValueError for a conversation that the template refuses, or whose system turn it refuses or leaves out."""
    system = [message for message in messages if message.role == "system"]
    others = [message for message in messages if message.role != "system"]
    try:
        text = render(messages)
    except ValueError as error:
        if system and others and _renders(render, others):
            raise ValueError(f"{error}; {_NO_SYSTEM}") from error
        raise
    if any(message.content.strip() not in text for message in system):
        raise ValueError(f"the chat template leaves out the system turn; {_NO_SYSTEM}")


_NO_SYSTEM = "this model takes no system turn: write its text into the user's"


def _renders(render: Render, messages: Sequence[Message]) -> bool:
    try:
        render(messages)
    except ValueError:
        return False
    return True


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _source(folder: Path, config: dict[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    inline = config.get("chat_template")
    if isinstance(inline, list):
        # Several by name, of which chats take the default.
        inline = next((entry["template"] for entry in inline if entry.get("name") == "default"), None)
    return inline


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_bytes())) if file.is_file() else {}


def _token(value: Any) -> str:
    """A special token, which is a text or an object with its `content`."""
    return str(value.get("content", "")) if isinstance(value, dict) else value or ""
