"""Fill a judge prompt: one pass over the template, so that what is put in is never read as template again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfreward.contracts import Message
from services.judge.neutralise import compile_guard, neutralise

PLACEHOLDERS = ("prompt", "response", "reference")
_PLACEHOLDER = re.compile("{(" + "|".join(PLACEHOLDERS) + ")}")


@dataclass(frozen=True)
class Template:
    """`parts` alternates literal text and placeholder names, literal first; all other braces are plain text."""

    parts: tuple[str, ...]
    guard: re.Pattern[str]

    @property
    def fields(self) -> frozenset[str]:
        """Placeholders that the template uses."""
        return frozenset(self.parts[1::2])

    def fill(self, prompt: str, response: str, reference: str | None = None) -> str:
        """The judge prompt for one answer; the texts are neutralised. A reference that is not used is left out."""
        values = {
            "prompt": neutralise(prompt, self.guard),
            "response": neutralise(response, self.guard),
            "reference": neutralise(reference, self.guard) if reference and "reference" in self.fields else "",
        }
        return "".join(values[part] if index % 2 else part for index, part in enumerate(self.parts))


def compile_template(text: str, delimiters: Sequence[str]) -> Template:
    """Split `text` at `{prompt}`, `{response}` and `{reference}`. ValueError when one of the first two is missing."""
    parts = tuple(_PLACEHOLDER.split(text))
    for field in ("prompt", "response"):
        if field not in parts[1::2]:
            raise ValueError(f"the template never uses {{{field}}}: write {{{field}}} where the {field} shall stand")
    return Template(parts, compile_guard(delimiters))


def as_text(value: str | Sequence[Message]) -> str:
    """A conversation as text: one message is its content; several are `Role: content` paragraphs."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return value[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in value)
