"""Verdicts in words: correct or incorrect, A or B or a tie.

A word that could be something else is not a verdict: `Winner: a close call`, `Winner: A or B` and `Verdict: not
correct` are unread, never guessed.
"""

import re
from dataclasses import dataclass
from typing import Generic

from selfreward.contracts.comparisons import Side
from services.judge.reading.read import CLOSING, Found, Value, as_grammar, compile_label

_NAMED = r"(?:the[ \t]+)?(?:response|answer|assistant|option|candidate|completion|output|judge?ment)[ \t*_`]*+[(\[]*+"
_END = r"(?=[ \t]*+(?:$|\n|[.,;:!)\]–—-]))"
_BECAUSE = r"(?=[ \t]++(?:because|since|as|is|was|wins|by|has|does|\()\b)"
# `A` alone ends its line or goes on with a reason; in brackets or with its noun it is a name wherever it stands.
_SIDE = re.compile(
    rf"(?:{_NAMED}(?P<named>[abc])(?![\w'’])|(?P<bracketed>[abc])(?=[)\]}}>])"
    rf"|(?-i:(?P<capital>[ABC])(?![\w'’])(?={CLOSING}{_END}|{CLOSING}{_BECAUSE}))"
    rf"|(?P<small>[abc])(?![\w'’])(?={CLOSING}{_END})"
    rf"|(?P<word>tie|tied|draw)(?![\w'’])){CLOSING}"
    rf"(?![ \t]*+(?:[/&=<>,+|]|and\b|or\b|vs\b)[ \t]*+{CLOSING}(?:{_NAMED}|[(\[]*+)(?:[abc]|tie|draw)(?![\w'’]))",
    re.IGNORECASE,
)
_CORRECTNESS = re.compile(
    rf"(?P<word>correct|incorrect|[01])(?![\w%/'’]|[.,][0-9]){CLOSING}(?![ \t]*+(?:/|,?[ \t]*(?:or|not)\b))",
    re.IGNORECASE,
)
_SHOWN = 40


@dataclass(frozen=True)
class ChoiceForm(Generic[Value]):
    """One of a few words after a label; the last label counts. `choices` is the grammar of the words."""

    label: str
    words: re.Pattern[str]
    meaning: dict[str, Value]
    choices: str

    def find(self, text: str) -> Found[Value]:
        """The word after the last label."""
        starts = [match.end() for match in compile_label(self.label).finditer(text)]
        if not starts:
            return Found("unparsed", reason=f"no {self.label!r}")
        word = self.words.match(text, starts[-1])
        group = word.lastgroup if word else None
        if word is None or group is None or word[group].lower() not in self.meaning:
            seen = text[starts[-1] : starts[-1] + _SHOWN]
            return Found("unparsed", reason=f"{seen!r} is none of {self.choices}", labelled=True)
        value = self.meaning[word[group].lower()]
        return Found("ok", value, labelled=True, start=word.start(group), end=word.end())

    @property
    def pattern(self) -> str:
        """The label and one of the words."""
        return f"{as_grammar(self.label)} {self.choices}"


def sides(label: str, *, tie: bool) -> ChoiceForm[Side]:
    """`Winner: A`, also as `[[A]]`, `(A)`, `Response A` or `Judgment A`; with `tie` also `tie`, `draw` and `C`."""
    meaning: dict[str, Side] = {"a": "a", "b": "b"}
    if tie:
        meaning |= {"tie": "tie", "tied": "tie", "draw": "tie", "c": "tie"}
    return ChoiceForm(label, _SIDE, meaning, "(A|B|tie)" if tie else "(A|B)")


def correctness(label: str) -> ChoiceForm[float]:
    """`Verdict: correct` is 1 and `Verdict: incorrect` is 0 (RLSR, 2505.08827, writes 1 and 0, which count too)."""
    meaning = {"correct": 1.0, "1": 1.0, "incorrect": 0.0, "0": 0.0}
    return ChoiceForm(label, _CORRECTNESS, meaning, "(correct|incorrect)")


_VERDICT = re.compile(r"\[\[\s*(?P<verdict>[AB]\s*(?:>>?|=|<<?)\s*[AB])\s*\]\]", re.IGNORECASE)


_MEANING: dict[str, tuple[Side, bool]] = {
    "A>>B": ("a", True),
    "A>B": ("a", False),
    "A=B": ("tie", False),
    "B>A": ("b", False),
    "B>>A": ("b", True),
    "B=A": ("tie", False),
    "A<B": ("b", False),
    "A<<B": ("b", True),
    "B<A": ("a", False),
    "B<<A": ("a", True),
}


_ASKED = ("A>>B", "A>B", "A=B", "B>A", "B>>A")


@dataclass(frozen=True)
class FiveWayForm:
    """Who is better, and whether clearly. `label` stands before the verdict where a grammar writes it."""

    label: str

    def find(self, text: str) -> Found[tuple[Side, bool]]:
        """The last verdict in double brackets."""
        matches = list(_VERDICT.finditer(text))
        if not matches:
            return Found("unparsed", reason=f"none of {', '.join(f'[[{verdict}]]' for verdict in _ASKED)}")
        last = matches[-1]
        said = re.sub(r"\s", "", last["verdict"]).upper()
        if said not in _MEANING:
            return Found("unparsed", reason=f"{last[0]!r} compares a response with itself", labelled=True)
        return Found("ok", _MEANING[said], labelled=True, start=last.start("verdict"), end=last.end())

    @property
    def pattern(self) -> str:
        """The label and one of the five."""
        return f"{as_grammar(self.label)} ({'|'.join(as_grammar(f'[[{verdict}]]') for verdict in _ASKED)})"
