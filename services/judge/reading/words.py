"""Verdicts in one word: correct or incorrect, yes or no, and how such a word is read from a line.

A word that could mean something else is not a verdict: `Verdict: not correct` and `Verdict: 1 error found` are
unparsed, never guessed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from services.judge.reading.labels import Line, Value, places_of, read_last
from services.judge.reading.read import Extraction
from services.judge.reading.tail import CLOSE, OPEN, closes, explanation
from services.judge.reading.view import view_of

_NAMED = r"(?:(?<=[\[({])(?:your |my )?(?:answer|verdict|decision|choice|value|result)[ ]*[:=][ ]*)?"
_MOST_SHOWN = 40


@dataclass(frozen=True)
class WordForm(Generic[Value]):
    """One of a few words after a label; the last label counts. `choices` are the words that a grammar allows."""

    label: str
    meaning: Mapping[str, Value]
    choices: str

    def extract(self, text: str) -> Extraction[Value]:
        """The word after the last label."""
        view = view_of(text)
        return read_last(view, places_of(view, self.label), self.read_line, self.label)

    def read_line(self, line: Line) -> Extraction[Value]:
        """The word at the start of the line."""
        words = "|".join(word.replace(" ", " +") for word in sorted(self.meaning, key=len, reverse=True))
        word = rf"(?P<word>{words})(?!['’]?\w|[%/]|[.,][0-9])"
        match = re.match(rf"{OPEN}{_NAMED}{word}{CLOSE}", line.text, re.IGNORECASE)
        if match is not None:
            value = self._value(match["word"])
            prose = explanation(line.text[match.end() :], line.bare)
            # `no, it is correct` takes its word back.
            said = rf"(?:^|^\((?=[^()]*\)$)|\b(?:is|are|was|but|so|thus|hence|therefore)[ ]){word}"
            says = [other["word"] for other in re.finditer(said, prose or "", re.IGNORECASE)]
            agrees = all(self._value(other) == value for other in says if not other.isdigit())
            # `1 (out of 5)` and `1 error` are no verdicts.
            if match["word"].isdigit() and re.search(r"[0-9]|\b(?:errors?|mistakes?)\b", prose or ""):
                prose = None
            if prose is not None and agrees and closes(match["open"], line.text[match.end("word") :]):
                return Extraction("ok", value, start=match.start("word"), end=match.end())
        excerpt = line.text.strip()[:_MOST_SHOWN]
        return Extraction("unparsed", reason=f"{excerpt!r} after {self.label!r} is none of {self.choices}")

    def _value(self, word: str) -> Value:
        """What a word of the judge's means, in any case and spacing."""
        return self.meaning[" ".join(word.lower().split())]

    @property
    def lead(self) -> str:
        """The label."""
        return self.label

    @property
    def rest(self) -> str:
        """One of the words."""
        return f" ?{self.choices}"


def correctness(label: str) -> WordForm[float]:
    """`Verdict: correct` is 1, `Verdict: incorrect` is 0. The digits 1 and 0 count too, as RLSR (2505.08827) writes."""
    yes, no = ("correct", "true", "yes", "right", "1"), ("incorrect", "false", "no", "wrong", "0")
    return WordForm(label, {**dict.fromkeys(yes, 1.0), **dict.fromkeys(no, 0.0)}, "(correct|incorrect)")


def yes_or_no(label: str) -> WordForm[bool]:
    """`Criterion 1: yes`, also as `met`, `not met` and `unmet`."""
    yes, no = ("yes", "met", "true"), ("no", "not met", "unmet", "false")
    return WordForm(label, {**dict.fromkeys(yes, True), **dict.fromkeys(no, False)}, "(yes|no)")
