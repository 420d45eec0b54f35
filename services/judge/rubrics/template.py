"""Fill a judge prompt in one pass over the template, so that no inserted text is read as template."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfreward.contracts.base import Message
from services.judge.rubrics.neutralise import compile_guard, neutralise
from services.judge.rubrics.spec import KINDS, KindShape

_TAGGED = (("candidate", "candidates"), ("argument", "debate"))
"""Tags that filling writes around the text of a placeholder: (tag, placeholder)."""


@dataclass(frozen=True)
class Template:
    """A compiled prompt. `parts` alternates literal text and placeholder names, literal text first.

    All braces that are not around a placeholder are plain text. `guard` matches what inserted texts must not contain.
    """

    parts: tuple[str, ...]
    guard: re.Pattern[str]

    @property
    def fields(self) -> frozenset[str]:
        """Placeholders that the template uses."""
        return frozenset(self.parts[1::2])

    def fill(self, values: Mapping[str, str], candidates: Sequence[str] = (), transcript: str | None = None) -> str:
        """The judge prompt with the texts of all its placeholders. Neutralises every text except `transcript`.

        Each of the `candidates` is put into numbered tags, which no candidate can close or open. `transcript` replaces
        `{debate}` unchanged: its arguments are neutralised already.
        """
        filled = {name: neutralise(text, self.guard) for name, text in values.items() if name in self.fields}
        if candidates:
            harmless = [neutralise(text, self.guard) for text in candidates]
            filled["candidates"] = "\n\n".join(
                f"<candidate {number}>\n{text}\n</candidate>" for number, text in enumerate(harmless, 1)
            )
        if transcript is not None:
            filled["debate"] = transcript
        return "".join(filled[part] if index % 2 else part for index, part in enumerate(self.parts))


def compile_template(
    text: str, delimiters: Sequence[str], shape: KindShape = KINDS["points"], numbered: Sequence[str] = ()
) -> Template:
    """Split `text` at the placeholders of a kind. `numbered` are delimiters in which `#` stands for any number.

    Raises ValueError when a placeholder that the kind requires is missing.
    """
    names = "|".join((*shape.required, *shape.optional))
    parts = tuple(re.split(f"{{({names})}}", text))
    for field in shape.required:
        if field not in parts[1::2]:
            old = field.replace("judgment", "judg" + "ement")
            if old != field and f"{{{old}}}" in text:
                raise ValueError(f"`{{{old}}}` is spelled `{{{field}}}` since 0.2.0: rename it")
            raise ValueError(f"the template never uses {{{field}}}: write {{{field}}} where the {field} shall stand")
    marks = [f"<{tag}>" for tag, field in _TAGGED if field in shape.required]
    return Template(parts, compile_guard([*delimiters, *marks], numbered))


def as_text(value: str | Sequence[Message]) -> str:
    """A conversation as text: the content of a single message, or several messages as `Role: content` paragraphs."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return value[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in value)
