"""Rankings: the numbers of all candidates after the label, best first."""

import re
from dataclasses import dataclass

from services.judge.reading.labels import Line, places_of, read_last
from services.judge.reading.read import Extraction
from services.judge.reading.tail import CLOSE, OPEN, closes, explanation
from services.judge.reading.view import View, view_of

_CANDIDATE = r"[\[(#]*+(?:(?:candidate|response|answer)[ ]*+)?[\[(#]*+(?P<{}>[0-9]{{1,3}})[\"')\]}}]*+"
_NEXT = _CANDIDATE.replace("(?P<{}>", "(?:").replace("{{", "{").replace("}}", "}")
_RANKING = re.compile(
    rf"{OPEN}(?:(?<=[\[(])numbers?[ ]*[:=][ ]*)?(?P<ranking>{_NEXT}(?:[ ]*+(?:>+|<+|,|=)[ ]*+{_NEXT})*+){CLOSE}",
    re.IGNORECASE,
)
_LIST_LINE = re.compile(rf"[ ]*(?P<place>[0-9]{{1,2}})[.)][ ]*{_CANDIDATE.format('number')}[ .]*", re.IGNORECASE)
_WORST_FIRST = re.compile(r"worst (?:to|first)|ascending|lowest first", re.IGNORECASE)
_MOST_SHOWN = 40


@dataclass(frozen=True)
class RankForm:
    """`Ranking: 2 > 1 = 3`: all numbers from 1 to `count` after the label, best first, where `=` is a tie."""

    label: str
    count: int

    def extract(self, text: str) -> Extraction[list[float]]:
        """For each candidate as numbered in the prompt, the share of the others that it beats (0 to 1).

        A tie counts half.
        """
        view = view_of(text)
        return read_last(view, places_of(view, self.label), lambda line: self._read(view, line), self.label)

    def _read(self, view: View, line: Line) -> Extraction[list[float]]:
        if line.bare and (groups := self._numbered_list(view, line.start)):
            numbered, end = groups
            return self._scored(numbered, line.start, end - line.start)
        match = _RANKING.match(line.text)
        if match is None:
            return self._unparsed(line)
        rest = line.text[match.end() :]
        prose = explanation(rest, line.bare)
        signs = set(re.findall(r"[>]+|[<]+|[,=]", match["ranking"]))
        order = {sign[0] for sign in signs if sign != "="}
        closed = closes(match["open"], line.text[match.end("open") :])
        middle = match["ranking"].split(",")[1:-1]
        grouped = any(len(re.findall(r"[\[({]", part)) != len(re.findall(r"[\])}]", part)) for part in middle)
        unclear = grouped or len(order) > 1 or (signs == {"=", ","}) or not closed
        if prose is None or unclear or re.search(r"^[0-9]|[<>=]", prose) or _WORST_FIRST.search(prose):
            return self._unparsed(line)
        groups_of_ties = [
            [int(number) for number in re.findall("[0-9]+", part)] for part in re.split(r"[>,<]+", match["ranking"])
        ]
        if "<" in order:
            groups_of_ties.reverse()
        return self._scored(groups_of_ties, match.start("ranking"), match.end())

    def _numbered_list(self, view: View, start: int) -> tuple[list[list[int]], int] | None:
        """The candidates of a list `1. Candidate 2`, one on each of its lines, and where it ends."""
        numbers = []
        for place in range(1, self.count + 1):
            match = _LIST_LINE.match(view.text, start)
            if match is None or int(match["place"]) != place or view.text[match.end() : match.end() + 1].strip("\n"):
                return None
            numbers.append([int(match["number"])])
            start, end = match.end() + 1, match.end()
        if _LIST_LINE.match(view.text, start):
            return None
        return numbers, end

    def _scored(self, groups: list[list[int]], start: int, end: int) -> Extraction[list[float]]:
        # Refuse a ranking that does not name each candidate once.
        numbers = [number for group in groups for number in group]
        outside = [number for number in numbers if not 1 <= number <= self.count]
        if outside:
            reason = f"there is no candidate {outside[0]}, only 1 to {self.count}"
            return Extraction("out_of_range", reason=reason, end=end)
        if sorted(numbers) != list(range(1, self.count + 1)):
            missing = sorted(set(range(1, self.count + 1)) - set(numbers))
            reason = f"candidate {missing[0]} is missing" if missing else "a candidate stands twice"
            return Extraction("unparsed", reason=reason, end=end)

        # Score each group of tied candidates by how many candidates come after it.
        scores = [0.0] * self.count
        ahead = 0
        for tied in groups:
            beaten = self.count - ahead - len(tied) + (len(tied) - 1) / 2
            for number in tied:
                scores[number - 1] = beaten / (self.count - 1)
            ahead += len(tied)
        return Extraction("ok", scores, start=start, end=end)

    def _unparsed(self, line: Line) -> Extraction[list[float]]:
        return Extraction("unparsed", reason=f"{line.text.strip()[:_MOST_SHOWN]!r} after {self.label!r} is no ranking")

    @property
    def lead(self) -> str:
        """The label."""
        return self.label

    @property
    def rest(self) -> str:
        """As many numbers as there are candidates."""
        number = f"({'|'.join(str(place) for place in range(1, self.count + 1))})"
        return f" ?{number}( ?> ?{number}){{{self.count - 1}}}"
