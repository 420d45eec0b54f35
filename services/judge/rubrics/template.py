"""Fill a judge prompt in one pass over the template, so that no inserted text is read as template.

A placeholder between tags of its own, as in `<response>{response}</response>`, is fenced: its text comes back byte for
byte, except special tokens of the engine's tokenizer. Where any text of a prompt has something that could be read as
one of the prompt's tags, all tags of this prompt get a suffix that occurs in none of its texts. The suffix is a hash of
these texts. So equal texts give an equal prompt, which keeps judgments reproducible and prefix caches warm; and nobody
can write the suffix into a text, because the text with the suffix in it has another one.

A placeholder without tags, as in `Answer: {response}`, has nothing that could be made unique. There, forged delimiters
are made harmless (`neutralise`).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from selfreward.contracts.base import Message
from services.judge.rubrics.lookalikes import fold
from services.judge.rubrics.neutralise import compile_guard, neutralise
from services.judge.rubrics.spec import KINDS, KindShape
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, SpecialTokens

_PART_TAGS = {"candidates": "candidate", "debate": "argument"}
"""The tag around each part of a placeholder whose text has several parts."""
_SUFFIX_DIGITS = 12
# What could open a tag: its sign, an end of one, their HTML and URL forms, and any sign of which we do not know what it
# looks like.
_OPENING = r"(?:<|/|&(?:lt|\#60|\#x3c);|%3c|\\u003c|\\x3c|[^\w\s\x00-\x7f“”‘’–—…、。「」『』·•])"
# A tag whose letters are unknown ones.
_FOREIGN_TAG = r"<[^<>\n]{0,40}[^\x00-\x7f<>][^<>\n]{0,40}>"


class Part(NamedTuple):
    """One of several texts of a placeholder, such as a candidate. `label` stands in its tag: `<candidate 2>`."""

    label: str
    text: str


Value = str | Sequence[Part]
"""What is filled in for a placeholder."""


class Slot(NamedTuple):
    """A placeholder, with the tag around it and the white space within the tag. Without a tag, both are empty."""

    field: str
    tag: str = ""
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Template:
    """A compiled prompt. All braces that are not around a placeholder are plain text.

    `guard` matches the delimiters that texts without a fence must not contain. `forgery` matches, in the folded view of
    a text, what could be read as a tag of this template; None where it has no tags.
    """

    parts: tuple[str | Slot, ...]
    guard: re.Pattern[str]
    forgery: re.Pattern[str] | None

    @property
    def slots(self) -> list[Slot]:
        """All placeholders, in order."""
        return [part for part in self.parts if isinstance(part, Slot)]

    @property
    def fields(self) -> frozenset[str]:
        """Placeholders that the template uses."""
        return frozenset(slot.field for slot in self.slots)

    def fill(self, values: Mapping[str, Value], tokens: SpecialTokens = UNKNOWN_ENGINE) -> str:
        """The judge prompt with the values of all its placeholders. `tokens` are those of the engine that reads it."""
        disarmed = {field: _disarm(value, tokens) for field, value in values.items() if field in self.fields}
        suffix = self._suffix([text for value in disarmed.values() for text in texts_of(value)])
        return "".join(
            part if isinstance(part, str) else self._fill_slot(part, disarmed[part.field], suffix, tokens)
            for part in self.parts
        )

    def _suffix(self, texts: Sequence[str]) -> str:
        if self.forgery is None or not any(map(self.forgery.search, map(fold, texts))):
            return ""
        together = "\0".join(texts).encode()
        attempt = 0
        while True:
            digest = hashlib.sha256(b"%d\0" % attempt + together).hexdigest()[:_SUFFIX_DIGITS]
            if digest.encode() not in together:
                return f"-{digest}"
            attempt += 1

    def _fill_slot(self, slot: Slot, value: Value, suffix: str, tokens: SpecialTokens) -> str:
        if isinstance(value, str):
            # Neutralising drops characters, and what stood around them may be a token then.
            text = value if slot.tag else tokens.disarm(neutralise(value, self.guard))
        else:
            tag = f"{_PART_TAGS[slot.field]}{suffix}"
            text = "\n\n".join(f"<{tag} {part.label}>\n{part.text}\n</{tag}>" for part in value)
        if not slot.tag:
            return text
        return f"<{slot.tag}{suffix}>{slot.before}{text}{slot.after}</{slot.tag}{suffix}>"


def _disarm(value: Value, tokens: SpecialTokens) -> Value:
    if isinstance(value, str):
        return tokens.disarm(value)
    return [Part(part.label, tokens.disarm(part.text)) for part in value]


def texts_of(value: Value) -> list[str]:
    """The one text of a value, or those of its parts."""
    return [value] if isinstance(value, str) else [part.text for part in value]


def compile_template(
    text: str, delimiters: Sequence[str], shape: KindShape = KINDS["points"], numbered: Sequence[str] = ()
) -> Template:
    """Split `text` at the placeholders of a kind. `numbered` are delimiters in which `#` stands for any number.

    Raises ValueError when a placeholder that the kind requires is missing.
    """
    names = "|".join((*shape.required, *shape.optional))
    placeholder = re.compile(
        rf"<(?P<tag>\w+)>(?P<before>\s*)\{{(?P<fenced>{names})\}}(?P<after>\s*)</(?P=tag)>|\{{(?P<bare>{names})\}}"
    )
    parts: list[str | Slot] = []
    end = 0
    for match in placeholder.finditer(text):
        slot = Slot(match["bare"]) if match["bare"] else Slot(*match.group("fenced", "tag", "before", "after"))
        parts += [text[end : match.start()], slot]
        end = match.end()
    parts.append(text[end:])
    slots = [part for part in parts if isinstance(part, Slot)]
    fields = {slot.field for slot in slots}
    for field in shape.required:
        if field not in fields:
            old = field.replace("judgment", "judg" + "ement")
            if old != field and f"{{{old}}}" in text:
                raise ValueError(f"`{{{old}}}` is spelled `{{{field}}}` since 0.2.0: rename it")
            raise ValueError(f"the template never uses {{{field}}}: write {{{field}}} where the {field} shall stand")
    tags = {slot.tag for slot in slots if slot.tag} | {_PART_TAGS[field] for field in fields & _PART_TAGS.keys()}
    return Template(tuple(parts), compile_guard(delimiters, numbered), _compile_forgery(tags))


def _compile_forgery(tags: Iterable[str]) -> re.Pattern[str] | None:
    names = "|".join(re.escape(fold(tag)) for tag in sorted(tags))
    return re.compile(rf"{_OPENING}\s*(?:{names})|{_FOREIGN_TAG}") if names else None


def as_text(value: str | Sequence[Message]) -> str:
    """A conversation as text: the content of a single message, or several messages as `Role: content` paragraphs."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return value[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in value)
