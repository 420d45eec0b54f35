"""Comparisons: A or B or a tie, and the five verdicts of Arena-Hard.

What follows the side must not leave open which one wins: `Winner: a close call`, `Winner: A or B` and `Winner: A is
worse` are unparsed, never guessed.
"""

import re
from dataclasses import dataclass

from selfreward.contracts.comparisons import Side
from services.judge.reading.labels import Line, Place, line_at, places_of, read_last
from services.judge.reading.read import Extraction, as_grammar
from services.judge.reading.tail import CLOSE, OPEN, closes, explanation
from services.judge.reading.view import view_of

_NOUN = (
    r"(?:(?:the[ ]+)?(?:better[ ]+)?(?:response|answer|assistant|option|candidate|completion|output|judge?ment)[ ]*"
    r"|回答|答案|选项|選項|回复|响应|助手)"
)
_NAMED = r"(?:(?<=[\[({])(?:your |my )?(?:answer|winner|decision|choice|verdict)[ ]*[:=][ ]*)?"


def _side(name: str) -> str:
    """A side, alone or with its noun, as `(A)`, `Response A` or `Response [A]`."""
    return rf"{_NOUN}?[ \"'(\[]*(?P<{name}>[abc])(?!['’]?\w)[ \"')\]]*"


_SIDE = re.compile(rf"{OPEN}{_NAMED}{_NOUN}?(?P<inner>[ \"'(\[]*)(?P<side>[abc])(?!['’]?\w){CLOSE}", re.IGNORECASE)
_TIE = re.compile(
    rf"{OPEN}{_NAMED}(?:(?:it|this|that)(?:'s| is)[ ]+|they are[ ]+)?(?:an?[ ]+)?"
    rf"(?P<word>tied?|draw|both|neither(?:[ ]of[ ]them|[ ]A[ ]nor[ ]B)?|equal(?:ly good)?)(?![\w'’])"
    rf"(?:[ ](?:between|of)[ ]{_side('one')}[ ]*and[ ]{_side('two')})?{CLOSE}",
    re.IGNORECASE,
)
_RELATION = re.compile(rf"[ ]*(?P<relation>>{{1,3}}|<{{1,3}}|=)[ ]*{_side('other')}", re.IGNORECASE)
_DEGREE = r"(?:clearly|slightly|much|far|significantly|marginally|somewhat|a (?:bit|little|lot)|the|overall)"
_WINS = re.compile(
    rf"[ ]+(?:(?:is|was)[ ]+(?:{_DEGREE}[ ]+)*(?:better|best|stronger|superior|preferable|preferred|winner)"
    rf"(?:[ ](?:response|answer|one|choice|option))?|wins)(?![\w'])(?:[ ](?:than|over)[ ]{_side('other')})?",
    re.IGNORECASE,
)
_MARGIN = re.compile(rf"[ ]+(?:over[ ]{_side('other')}|by (?:far|an? (?:[a-z]+ )?margin))(?!\w)", re.IGNORECASE)
_OTHER_SIDE = re.compile(rf"\(?[ ]*(?:{_NOUN}?[ \"'(\[]*(?:[BC]|(?-i:A))|tie|draw)(?![\w'])", re.IGNORECASE)
_NOT_OTHER = re.compile(rf"\(?not[ ]+{_side('side')}[ ]*[.!)]*$", re.IGNORECASE)
_SO = re.compile(
    rf".*\b(?:so|thus|hence|therefore)[ ]+(?:(?:the winner is|it is|it's|i choose|i prefer)[ ]+)?{_side('side')}"
    r"(?:[ ](?:wins|is better|is the winner|is the better one))?[ ]*[.!]*$",
    re.IGNORECASE,
)
_FIVE = r"(?P<first>[AB])[ ]*(?P<relation>>>?|=|<<?)[ ]*(?P<second>[AB])(?!\w)"
_IN_BRACKETS = re.compile(rf"(?<![\w\[])\[{{1,3}}[ ]*{_FIVE}[ ]*\]{{1,2}}", re.IGNORECASE)
_FIVE_WAY = re.compile(rf"{OPEN}{_FIVE}[ ]*{CLOSE}", re.IGNORECASE)
_FIVE_WAY_VERDICTS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_MOST_PLACES = 64
_MOST_SHOWN = 40


@dataclass(frozen=True)
class SideForm:
    """`Winner: A`, also as `[[A]]`, `(A)`, `Response A` or `A > B`; with `tie` also `tie`, `draw`, `both` and `C`."""

    label: str
    tie: bool

    def extract(self, text: str) -> Extraction[Side]:
        """The side after the last label."""
        view = view_of(text)
        return read_last(view, places_of(view, self.label), self._read, self.label)

    def _read(self, line: Line) -> Extraction[Side]:
        side, start, end = self._tie(line) or self._one_side(line) or self._conclusion(line) or (None, 0, None)
        if side is None or (side == "tie" and not self.tie):
            excerpt = line.text.strip()[:_MOST_SHOWN]
            return Extraction("unparsed", reason=f"{excerpt!r} after {self.label!r} is none of {self._choices}")
        return Extraction("ok", side, start=start, end=end)

    def _tie(self, line: Line) -> tuple[Side, int, int] | None:
        match = _TIE.match(line.text)
        prose = None if match is None else explanation(line.text[match.end() :], line.bare)
        if match is None or prose is None or _denies(prose, "tie"):
            return None
        return "tie", match.start("word"), match.end()

    def _one_side(self, line: Line) -> tuple[Side, int, int] | None:
        match = _SIDE.match(line.text)
        if match is None or not closes(match["open"] + match["inner"], line.text[match.end("side") :]):
            return None
        letter, end = match["side"].lower(), match.end()

        # A comparison or a statement may follow that says the same.
        wins, start = _SIDES[letter], match.start("side")
        if not line.bare and (relation := _RELATION.match(line.text, end)):
            other, sign = _SIDES[relation["other"].lower()], relation["relation"][0]
            if "tie" in (wins, other) or wins == other:
                return None
            # The verdict's own token is the winner's letter.
            start, end = (relation.start("other") if sign == "<" else start), relation.end()
            wins = other if sign == "<" else "tie" if sign == "=" else wins
        elif not line.bare and (says := _WINS.match(line.text, end) or _MARGIN.match(line.text, end)):
            end = says.end()

        # What then follows must leave it at that.
        rest = line.text[end:]
        prose = explanation(rest, line.bare)
        if prose is None:
            not_other = _NOT_OTHER.match(rest.lstrip(" ,;-"))
            return (wins, start, end) if not_other and not_other["side"].lower() != letter else None
        return None if _denies(prose, wins) else (wins, start, end)

    def _conclusion(self, line: Line) -> tuple[Side, int, int] | None:
        """`A has errors, so B`."""
        match = None if line.bare else _SO.match(line.text)
        return None if match is None else (_SIDES[match["side"].lower()], match.start("side"), match.end())

    @property
    def _choices(self) -> str:
        return "(A|B|tie)" if self.tie else "(A|B)"

    @property
    def lead(self) -> str:
        """The label."""
        return self.label

    @property
    def rest(self) -> str:
        """One of the sides."""
        return f" ?{self._choices}"


_SIDES: dict[str, Side] = {"a": "a", "b": "b", "c": "tie"}


def _denies(prose: str, wins: Side) -> bool:
    """Whether what follows a verdict begins with another side, or concludes that another one wins."""
    concluded = _SO.match(prose)
    return bool(_OTHER_SIDE.match(prose)) or (concluded is not None and _SIDES[concluded["side"].lower()] != wins)


@dataclass(frozen=True)
class FiveWayForm:
    """`[[A>>B]]`, `[[A>B]]`, `[[A=B]]`, `[[B>A]]` or `[[B>>A]]`: which side is better, and whether clearly.

    In brackets the last one counts wherever it stands in a line, because it needs no label.
    """

    label: str

    def extract(self, text: str) -> Extraction[tuple[Side, bool]]:
        """The last verdict in brackets, else the one after the label."""
        view = view_of(text)
        starts = [match.start() for match in _IN_BRACKETS.finditer(view.text)][-_MOST_PLACES:]
        if not starts:
            return read_last(view, places_of(view, self.label), self._read, self.label)
        places = [Place(start, start, line_at(view.text, start)) for start in starts]
        return read_last(view, places, self._read, ", ".join(_FIVE_WAY_VERDICTS), anywhere=True)

    def _read(self, line: Line) -> Extraction[tuple[Side, bool]]:
        match = _FIVE_WAY.match(line.text)
        compares = match is not None and match["first"].lower() != match["second"].lower()
        if match is None or not compares or explanation(line.text[match.end() :], line.bare) is None:
            verdicts = ", ".join(f"[[{verdict}]]" for verdict in _FIVE_WAY_VERDICTS)
            return Extraction("unparsed", reason=f"{line.text.strip()[:_MOST_SHOWN]!r} is none of {verdicts}")
        wins = {">": match["first"], "<": match["second"], "=": "c"}[match["relation"][0]]
        clearly = len(match["relation"]) == 2
        return Extraction("ok", (_SIDES[wins.lower()], clearly), start=match.start("first"), end=match.end())

    @property
    def lead(self) -> str:
        """The label."""
        return self.label

    @property
    def rest(self) -> str:
        """One of the five verdicts."""
        return f" ?({'|'.join(as_grammar(f'[[{verdict}]]') for verdict in _FIVE_WAY_VERDICTS)})"


def sides(label: str, *, tie: bool) -> SideForm:
    """The form of a comparison, with or without a tie."""
    return SideForm(label, tie)
