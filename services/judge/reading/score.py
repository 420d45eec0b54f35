"""Scores: the number after the label, alone or with its scale.

The number is read whole and then checked against the scale: `10` is out of range on a scale of 5, never 1. A sum counts
as its total if the total is right; a wrong sum is no verdict, because nobody knows which of its numbers is meant.
"""

import re
from dataclasses import dataclass
from math import isclose

from services.judge.reading.labels import Line, places_of, read_last
from services.judge.reading.read import Extraction
from services.judge.reading.tail import CLOSE, OPEN, closes, explanation
from services.judge.reading.view import view_of

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_VALUES = {
    **{word: float(value) for value, word in enumerate(_WORDS)},
    **{numeral: float(value) for value, numeral in enumerate("零一二三四五六七八九十")},
    "〇": 0.0,
    "两": 2.0,
    "½": 0.5,
    "¼": 0.25,
    "¾": 0.75,
    "1/2": 0.5,
    "1/4": 0.25,
    "3/4": 0.75,
    "1/3": 1 / 3,
    "2/3": 2 / 3,
}
_WORD = rf"(?:{'|'.join(_WORDS)})\b"
_NUMBER = rf"(?:[0-9]++(?:\.[0-9]++|,[0-9]{{1,2}}+)?+(?![0-9])|{_WORD}|[零〇一二两三四五六七八九十](?=\W|[分点]|$))"
_PART = r"(?:[ ]*(?P<part>[½¼¾])|[ ](?P<fraction>1/2|1/4|3/4|1/3|2/3)(?![/0-9])|[ ]and[ ](?:a[ ])?(?P<half>half)\b)"
_UNIT = r"(?:[ ]*(?:points?|pts?|stars?|marks?|分|点)(?![\w]))"
_LIMIT = rf"(?:(?P<low>{_NUMBER})[ ]*(?:to|-|–|/)[ ]*)?(?P<high>{_NUMBER})"
_SCALE = (
    rf"(?:[ ]*/[ ]*(?P<of>{_NUMBER})"
    rf"|[ ]*\(?[ ]*(?:out of|of|on|from)[ ]+(?:(?:an?|the|possible|max|maximum|scale|range|of|from)[: ]+)*{_LIMIT}"
    rf"|[ ]*\([ ]*(?:scale|range|max|maximum|from)[: ]+(?P<most>{_NUMBER})(?=[ )])"
    rf"|[ ]*\([ ]*(?P<least>{_NUMBER})[ ]*(?:to|-|–)[ ]*(?P<top>{_NUMBER})(?=[ )]))"
)
_MET = (
    r"(?:[ ](?:criteria|requirements|conditions|items|points?|stars?)(?:[ ]are)?(?:[ ](?:met|satisfied|fulfilled))?\b)"
)
_NAMED = r"(?:(?<=[\[({])(?:total points|points|total|number|sum|score|rating|value|result)[ ]*[:=][ ]*)?"
_TERM = rf"{_NUMBER}{_UNIT}?(?:[ ]*\([^()0-9\n]*+\))?"
_SUM = re.compile(
    rf"{OPEN}{_NAMED}(?P<terms>{_TERM}(?:[ ]*\+[ ]*{_TERM})++)[ )\]]*=[ (\[]*(?P<value>{_NUMBER}){_UNIT}?{CLOSE}"
    rf"(?:{_SCALE}{_UNIT}?{_MET}?{CLOSE})?",
    re.IGNORECASE,
)
_SCORE = re.compile(
    rf"{OPEN}{_NAMED}(?P<value>[+–-]?{_NUMBER}){_PART}?{_UNIT}?{CLOSE}{_UNIT}?(?:{_SCALE}{_UNIT}?{_MET}?{CLOSE})?",
    re.IGNORECASE,
)
_BREAKDOWN = re.compile(rf"[ ]*[(=][ ]*(?P<terms>{_TERM}(?:[ ]*\+[ ]*{_TERM})++)[ ]*\)?", re.IGNORECASE)
_FRACTION = re.compile(rf"{OPEN}\\[dt]?frac\{{(?P<value>{_NUMBER})\}}\{{(?P<of>{_NUMBER})\}}{CLOSE}", re.IGNORECASE)
_OTHER_NUMBER = re.compile(
    rf"[0-9½¼¾]|(?:^|\b(?:or|to|say|even|not|than))\W*{_WORD}|\b(?:twenty|fifty|hundred|percent)\b"
    rf"|\b(?:out of|scale of|max(?:imum)?(?: is)?|on (?:a|the))\W*{_WORD}|^\W*of\W+{_WORD}|[十百]分|分[十百]|满分",
    re.IGNORECASE,
)
_MOST_SHOWN = 40


@dataclass(frozen=True)
class ScoreForm:
    """`Score: 4`: a number after `label`, within the inclusive range of `minimum` and `maximum`, in points."""

    label: str
    minimum: float
    maximum: float

    def extract(self, text: str) -> Extraction[float]:
        """The number after the last label."""
        view = view_of(text)
        return read_last(view, places_of(view, self.label), self._read, self.label)

    def _read(self, line: Line) -> Extraction[float]:
        # Read the number with what belongs to it.
        score = _SUM.match(line.text) or _FRACTION.match(line.text) or _SCORE.match(line.text)
        if score is None:
            return self._unparsed(line, "is not one plain number")
        groups = score.groupdict()
        rest = line.text[score.end() :].removeprefix("+")
        parts = _BREAKDOWN.match(rest)
        if parts is not None:
            rest = rest[parts.end() :]
        prose = explanation(rest, line.bare)
        if prose is None or _OTHER_NUMBER.search(prose) or not closes(groups["open"], line.text[score.end("open") :]):
            return self._unparsed(line, "is not one plain number")
        value = _value(groups["value"]) + sum(_value(groups.get(part)) for part in ("part", "fraction", "half"))

        # Check it.
        terms = [_terms(text) for text in (groups.get("terms"), parts and parts["terms"]) if text]
        if not all(isclose(sum(map(_value, summands)), value, abs_tol=1e-6) for summands in terms):
            return self._unparsed(line, "is a wrong sum")
        shown, end = score["value"][:_MOST_SHOWN], score.end()
        if not self.minimum <= value <= self.maximum:
            reason = f"{shown} is not within {self.minimum:g} to {self.maximum:g}"
            return Extraction("out_of_range", reason=reason, end=end)
        highest = [_value(groups.get(name)) for name in ("of", "high", "most", "top") if groups.get(name)]
        lowest = [_value(groups.get(name)) for name in ("low", "least") if groups.get(name)]
        if highest not in ([], [self.maximum]) or lowest not in ([], [self.minimum]):
            reason = f"{score[0].strip()[:_MOST_SHOWN]}: the scale is {self.minimum:g} to {self.maximum:g}"
            return Extraction("out_of_range", reason=reason, end=end)
        return Extraction("ok", value, start=score.start("value"), end=end)

    def _unparsed(self, line: Line, problem: str) -> Extraction[float]:
        return Extraction("unparsed", reason=f"{line.text.strip()[:_MOST_SHOWN]!r} after {self.label!r} {problem}")

    @property
    def lead(self) -> str:
        """The label."""
        return self.label

    @property
    def rest(self) -> str:
        """Every whole number of a short scale, else a decimal."""
        minimum, maximum = float(self.minimum), float(self.maximum)
        whole = minimum.is_integer() and maximum.is_integer() and maximum - minimum <= 100
        return (
            f" ?({'|'.join(str(n) for n in range(int(minimum), int(maximum) + 1))})"
            if whole
            else " ?-?[0-9]{1,6}(\\.[0-9]{1,2})?"
        )


def _terms(text: str) -> list[str]:
    return re.findall(_NUMBER, re.sub(r"\([^()]*\)", "", text), re.IGNORECASE)


def _value(number: str | None) -> float:
    """The value of a number as it is written; 0 for None."""
    if number is None:
        return 0.0
    written = number.lower().replace("–", "-").replace(",", ".")
    if written == "half":
        return 0.5
    return _VALUES[written] if written in _VALUES else float(written)
