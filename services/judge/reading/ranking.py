"""Rankings: the numbers of all candidates after the label, best first."""

import re
from dataclasses import dataclass

from services.judge.reading.read import Extraction, as_grammar, compile_label

_CANDIDATE = r"[\[(#]*+(?:(?:candidate|response|answer)[ \t]*+)?[\[(#]*+[0-9]{1,3}[*_`\"')\]}]*+"
_RELATION = r"[ \t]*+[>,=][ \t]*+"
_RANKING = re.compile(
    rf"{_CANDIDATE}(?:{_RELATION}{_CANDIDATE})*+(?!\w|[ \t]*+[>=]|\.[0-9])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class RankForm:
    """`Ranking: 2 > 1 = 3`: all numbers from 1 to `count` after the label, best first, where `=` is a tie."""

    label: str
    count: int

    def extract(self, text: str) -> Extraction[list[float]]:
        """For each candidate as numbered in the prompt, the share of the others that it beats (0 to 1).

        A tie counts half.
        """
        # Find the ranking, and refuse one that does not name each candidate once.
        starts = [match.end() for match in compile_label(self.label).finditer(text)]
        match = _RANKING.match(text, starts[-1]) if starts else None
        if match is None:
            return Extraction("unparsed", reason=f"no ranking after {self.label!r}", labelled=bool(starts))
        numbers = [int(number) for number in re.findall("[0-9]+", match[0])]
        outside = [number for number in numbers if not 1 <= number <= self.count]
        if outside:
            reason = f"there is no candidate {outside[0]}, only 1 to {self.count}"
            return Extraction("out_of_range", reason=reason, labelled=True, end=match.end())
        if sorted(numbers) != list(range(1, self.count + 1)):
            missing = sorted(set(range(1, self.count + 1)) - set(numbers))
            reason = f"candidate {missing[0]} is missing" if missing else "a candidate stands twice"
            return Extraction("unparsed", reason=reason, labelled=True, end=match.end())

        # Score each group of tied candidates by how many candidates come after it.
        scores = [0.0] * self.count
        ahead = 0
        for group in re.split("[>,]", match[0]):
            tied = [int(number) for number in re.findall("[0-9]+", group)]
            beaten = self.count - ahead - len(tied) + (len(tied) - 1) / 2
            for number in tied:
                scores[number - 1] = beaten / (self.count - 1)
            ahead += len(tied)
        return Extraction("ok", scores, labelled=True, end=match.end())

    @property
    def pattern(self) -> str:
        """As many numbers as there are candidates."""
        number = f"({'|'.join(str(place) for place in range(1, self.count + 1))})"
        return f"{as_grammar(self.label)} {number}( > {number}){{{self.count - 1}}}"
