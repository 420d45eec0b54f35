"""Scores: the number after the label.

The number is read whole and then checked against the scale: `10` is out of range on a scale of 5, never 1, and `1e-1`,
`4-5` or `4,5` are not scores.
"""

import re
from dataclasses import dataclass

from services.judge.reading.read import CLOSING, Extraction, as_grammar, compile_label

_NUMBER = r"[0-9]++(?:\.[0-9]++)?+"
_SCORE = re.compile(
    rf"(?P<value>[+-]?{_NUMBER}){CLOSING}"
    rf"(?:[ \t]*+(?:/|out of|of)[ \t]*+(?P<of>{_NUMBER}){CLOSING})?+"
    r"(?![\w%/]|[.,:][0-9]|[ \t]*(?:-|–|—|~|to|or)[ \t]*[0-9])",
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
        """The last number that follows the label."""
        starts = [match.end() for match in compile_label(self.label, "(?=[+-]?[0-9])").finditer(text)]
        if not starts:
            return Extraction("unparsed", reason=f"no number after {self.label!r}")
        score = _SCORE.match(text, starts[-1])
        if score is None:
            excerpt = text[starts[-1] : starts[-1] + _MOST_SHOWN]
            return Extraction("unparsed", reason=f"{excerpt!r} is not one plain number", labelled=True)
        value, scale, end = float(score["value"]), score["of"], score.end()
        if not self.minimum <= value <= self.maximum:
            reason = f"{score['value'][:_MOST_SHOWN]} is not within {self.minimum:g} to {self.maximum:g}"
            return Extraction("out_of_range", reason=reason, labelled=True, end=end)
        if scale is not None and float(scale) != self.maximum:
            reason = f"{score['value']} of {scale[:_MOST_SHOWN]}: the scale ends at {self.maximum:g}"
            return Extraction("out_of_range", reason=reason, labelled=True, end=end)
        return Extraction("ok", value, labelled=True, start=score.start("value"), end=end)

    @property
    def pattern(self) -> str:
        """Every whole number of a short scale, else a decimal."""
        minimum, maximum = float(self.minimum), float(self.maximum)
        whole = minimum.is_integer() and maximum.is_integer() and maximum - minimum <= 100
        number = (
            f"({'|'.join(str(n) for n in range(int(minimum), int(maximum) + 1))})"
            if whole
            else "-?[0-9]{1,6}(\\.[0-9]{1,2})?"
        )
        return f"{as_grammar(self.label)} {number}"
