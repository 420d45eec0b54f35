"""Verdicts in words: A or B or a tie, correct or incorrect, and the five verdicts of Arena-Hard.

A word that could mean something else is not a verdict: `Winner: a close call`, `Winner: A or B` and `Verdict: not
correct` are unparsed, never guessed.
"""

import re
from dataclasses import dataclass
from typing import Generic

from selfreward.contracts.comparisons import Side
from services.judge.reading.read import CLOSING, Extraction, Value, as_grammar, compile_label

_NAMED = r"(?:the[ \t]+)?(?:response|answer|assistant|option|candidate|completion|output|judge?ment)[ \t*_`]*+[(\[]*+"
_END = r"(?=[ \t]*+(?:$|\n|[.,;:!)\]–—-]))"
_BECAUSE = r"(?=[ \t]++(?:because|since|as|is|was|wins|by|has|does|\()\b)"
# `A` alone ends its line or is followed by a reason; in brackets or with its noun it is a name wherever it stands.
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
_FIVE_WAY = re.compile(r"\[\[\s*(?P<verdict>[AB]\s*(?:>>?|=|<<?)\s*[AB])\s*\]\]", re.IGNORECASE)
_FIVE_WAY_VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_FIVE_WAY_MEANING: dict[str, tuple[Side, bool]] = {
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
"""The winner, and whether it wins clearly."""
_MOST_SHOWN = 40


@dataclass(frozen=True)
class WordForm(Generic[Value]):
    """One of a few words after a label; the last label counts. `choices` is the grammar of the words."""

    label: str
    words: re.Pattern[str]
    meaning: dict[str, Value]
    choices: str

    def extract(self, text: str) -> Extraction[Value]:
        """The word after the last label."""
        starts = [match.end() for match in compile_label(self.label).finditer(text)]
        if not starts:
            return Extraction("unparsed", reason=f"no {self.label!r}")
        word = self.words.match(text, starts[-1])
        group = word.lastgroup if word else None
        if word is None or group is None or word[group].lower() not in self.meaning:
            excerpt = text[starts[-1] : starts[-1] + _MOST_SHOWN]
            return Extraction("unparsed", reason=f"{excerpt!r} is none of {self.choices}", labelled=True)
        value = self.meaning[word[group].lower()]
        return Extraction("ok", value, labelled=True, start=word.start(group), end=word.end())

    @property
    def pattern(self) -> str:
        """The label and one of the words."""
        return f"{as_grammar(self.label)} {self.choices}"


@dataclass(frozen=True)
class FiveWayForm:
    """`[[A>>B]]`, `[[A>B]]`, `[[A=B]]`, `[[B>A]]` or `[[B>>A]]`: which side is better, and whether clearly.

    The last one counts wherever it stands, because a judge that first answers the prompt itself may mention others.
    `label` only stands before the verdict that a grammar writes.
    """

    label: str

    def extract(self, text: str) -> Extraction[tuple[Side, bool]]:
        """The last verdict in double brackets."""
        matches = list(_FIVE_WAY.finditer(text))
        if not matches:
            verdicts = ", ".join(f"[[{verdict}]]" for verdict in _FIVE_WAY_VERDICTS)
            return Extraction("unparsed", reason=f"none of {verdicts}")
        last = matches[-1]
        verdict = re.sub(r"\s", "", last["verdict"]).upper()
        if verdict not in _FIVE_WAY_MEANING:
            return Extraction("unparsed", reason=f"{last[0]!r} compares a response with itself", labelled=True)
        meaning = _FIVE_WAY_MEANING[verdict]
        return Extraction("ok", meaning, labelled=True, start=last.start("verdict"), end=last.end())

    @property
    def pattern(self) -> str:
        """The label and one of the five verdicts."""
        verdicts = "|".join(as_grammar(f"[[{verdict}]]") for verdict in _FIVE_WAY_VERDICTS)
        return f"{as_grammar(self.label)} ({verdicts})"


def sides(label: str, *, tie: bool) -> WordForm[Side]:
    """`Winner: A`, also as `[[A]]`, `(A)`, `Response A` or `Judgment A`; with `tie` also `tie`, `draw` and `C`."""
    meaning: dict[str, Side] = {"a": "a", "b": "b"}
    if tie:
        meaning |= {"tie": "tie", "tied": "tie", "draw": "tie", "c": "tie"}
    return WordForm(label, _SIDE, meaning, "(A|B|tie)" if tie else "(A|B)")


def correctness(label: str) -> WordForm[float]:
    """`Verdict: correct` is 1, `Verdict: incorrect` is 0. The digits 1 and 0 count too, as RLSR (2505.08827) writes."""
    meaning = {"correct": 1.0, "1": 1.0, "incorrect": 0.0, "0": 0.0}
    return WordForm(label, _CORRECTNESS, meaning, "(correct|incorrect)")
