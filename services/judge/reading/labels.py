"""Find the label whose verdict counts: the last one that stands alone, and not one that is only mentioned.

A label stands alone at the start of a line or of a sentence, also after a word such as `Final`, and as a whole key of a
JSON object. `Maximum score: 5`, `Depth score: 1` and `I cannot give Score: 5` are no verdicts of the label `Score:`.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

from services.judge.reading.read import Extraction
from services.judge.reading.view import View

Value = TypeVar("Value")

_MOST_BEFORE = 240
_MOST_LINE = 1000
_MOST_OBJECTS = 32
_MOST_PLACES = 64
_MOST_RIVALS = 8
_MOST_SHOWN = 40
# Words that may stand before a label: `Final score:`; or yes, no or `: 2`, where a tally ends on the label's line.
_LEAD = re.compile(
    r"(?:^|(?<=\W))(?:final|overall|total|my|the|our|so|thus|hence|therefore|then|and|here is|here's"
    r"|i give(?: it| this| the answer| the response)?(?: a)?)[ \"'([{<#]*$",
    re.IGNORECASE,
)
_TALLY = re.compile(r"(?<![^\W_])(?:yes|no|(?<=: )[0-9]+)[ ]*$", re.IGNORECASE)
# Other numbers than the verdict, which may stand beside it.
_BESIDE = re.compile(
    r"\b(?:max|maximum|min|minimum|possible|highest|lowest|best|top|full|perfect|confidence|certainty)\b", re.IGNORECASE
)
_MENTIONED = re.compile(
    r"\b(?:not|never|cannot|\w+n't|would|could|might|may|should|if|unless|without|instead|rather|hardly)\b",
    re.IGNORECASE,
)
# A label after these is somebody else's, or none at all.
_REPORTED = re.compile(
    r"\b(?:says|said|writes|wrote|claims|states|asks for|(?:ends|finishes) with|for example|e\.g\.)\W*$", re.IGNORECASE
)
_QUALIFIES = re.compile(r"(?:[^\W_]-?|\b(?:max|min)\.)$", re.IGNORECASE)
_SENTENCE_END, _PHRASE_END = re.compile(r"[.!?]\s"), re.compile(r"[!?;:,]\s|(?<!max)(?<!min)\.\s", re.IGNORECASE)
_LISTED = re.compile(r"[ ]*(?:[-*+•·✓✔]|\(?(?:[0-9]{1,2}|[a-h]|[ivx]{1,4})[.):]|#[0-9]+)[ ]", re.IGNORECASE)
_HEADING, _WHOLE = (
    re.compile(r"(?:[^\s.!?,;0-9]++ *+){1,5}"),
    re.compile(r"\b(?:total|overall|final|verdict|revis|reconsider|reflect)", re.IGNORECASE),
)
_SECTION = re.compile(
    r"^[ ]*(?:#{1,6}[ ]+.+|\*\*[^*\n]+(?:\*\*:?|:\*\*)"
    r"|(?:[0-9]{1,2}[.)]|step|claim|part|round|response|answer|question|candidate|assistant)[ ]+\w.*)",
    re.MULTILINE | re.IGNORECASE,
)
# `Depth:` or `Response A -` before a label.
_PREFIX = re.compile(r"[^\n:.!?;|]{1,40}(?:[:;|→]|[ ][–—-])[ ]*$")
_CHOICE = re.compile(r"\](?:[ ]*(?:[/|,→⇒]|[-=]>)|[ ]+(?:or|and|vs))[ ]*$", re.IGNORECASE)
_QUOTED = re.compile(r"[ ]*[|>]")
_JOINED = re.compile(r"(?:\W|\b(?:or|and|vs|versus)\b)*+", re.IGNORECASE)
_OBJECT = re.compile(r"\{\s*+\"")
_NEXT_KEY = re.compile(r",\s*+[\"']\w|\}")
_KEY, _QUOTES = re.compile(r"[\"']"), ("'", '"')
_COMMA = re.compile(r",(?=\s*+[}\]])")


class Line(NamedTuple):
    """What follows a label up to the end of its line, from index `start` of the view.

    `bare`: the verdict is on a later line than its label, where nothing else may stand.
    """

    text: str
    start: int
    bare: bool = False


LineReader = Callable[[Line], Extraction[Value]]
"""Reads the verdict at the start of a line. `start` and `end` of what it extracts are indices in the line."""


class Place(NamedTuple):
    """Where a verdict may stand: a label in the view with its line. `is_json`: the label is a key of an object."""

    begin: int
    end: int
    line: Line
    is_json: bool = False


def read_last(
    view: View, places: list[Place], read_line: LineReader[Value], wanted: str, *, anywhere: bool = False
) -> Extraction[Value]:
    """The verdict at the last place where one stands alone; `anywhere` in a sentence. Indices are of the judge's text.

    Two verdicts with nothing between them that differ are no verdict, nor are several in a list.
    """
    for number in range(len(places) - 1, -1, -1):
        place = places[number]
        standing = "alone" if place.is_json else _standing(view, place.begin, anywhere)
        if standing == "aside":
            continue
        found = read_line(place.line)
        if standing == "other":
            # Another score after the verdict, such as `Depth score: 1`, leaves open which one counts.
            if found.status == "unparsed":
                continue
            return Extraction("unparsed", reason=f"{_excerpt(view, place.begin)!r} is not {wanted!r}", labelled=True)
        alone = [
            other for other in places[:number] if other.is_json or _standing(view, other.begin, anywhere) == "alone"
        ]
        if found.status == "ok" and (problem := _rival(view, alone, place, found, read_line)):
            return Extraction("unparsed", reason=problem, labelled=True)
        end = None if found.end is None else view.index(max(place.end, place.line.start + found.end))
        return replace(found, labelled=True, start=view.index(place.line.start + found.start), end=end)
    return Extraction("unparsed", reason=f"no {wanted!r} with a verdict", labelled=bool(places))


def _rival(
    view: View, before: list[Place], place: Place, found: Extraction[Value], read_line: LineReader[Value]
) -> str | None:
    """Why the verdict at `place` does not stand alone; None where it does."""
    listed, headed = _is_listed(view, place.begin), _is_headed(view, place.begin)
    section = _section(view, place.begin)
    after, values = place.begin, {repr(found.value)}
    for other in reversed(before[-_MOST_RIVALS:]):
        earlier = read_line(other.line)
        if earlier.status != "ok" or earlier.end is None:
            return None
        between = view.text[max(other.end, other.line.start + earlier.end) : after]
        values.add(repr(earlier.value))
        follows = after == place.begin and _JOINED.fullmatch(between) is not None
        in_list = (listed and _is_listed(view, other.begin)) or (follows and place.is_json and other.is_json)
        in_list = in_list or (section is not None and _section(view, other.begin) not in (None, section))
        in_list = in_list or (headed and _is_headed(view, other.begin))
        if in_list or (follows and len(values) > 1) or len(values) > 2:
            return f"several verdicts, {earlier.value} and {found.value}, and nothing says which one counts"
        if between.count("\n") > 2:
            return None
        after = other.begin
    return None


def places_of(view: View, label: str) -> list[Place]:
    """The last places of the label, in order."""
    text, places = view.text, []
    for place in _objects(view, label):
        places.append(place)
        text = f"{text[: place.begin]}{' ' * (place.end - place.begin)}{text[place.end :]}"
    for match in list(compile_label(label).finditer(text))[-_MOST_PLACES:]:
        line = line_at(text, match.end())
        if text[match.start() - 1 : match.start()] in _QUOTES and _KEY.search(match[0]):
            # A key of an object that is not quite JSON: its value ends at the next key.
            line = line._replace(text=_NEXT_KEY.split(line.text, maxsplit=1)[0])
        places.append(Place(match.start(), line.start, line))
    return sorted(places)


def line_at(text: str, start: int) -> Line:
    """The line from `start` on, or where that is empty the next one that is not."""
    rest = text[start : start + _MOST_LINE]
    line = rest.partition("\n")[0]
    if line.strip():
        return Line(line, start)
    stripped = rest.lstrip()
    return Line(stripped.partition("\n")[0], start + len(rest) - len(stripped), bare=True)


def _objects(view: View, label: str) -> Iterator[Place]:
    """Each JSON object that has the label as a key: its own one, or the only one inside of it."""
    label_pattern = compile_label(label).pattern
    key_pattern = re.compile(rf"(?:(?:final|overall|total)[\s_]*+)?{label_pattern}", re.IGNORECASE)
    if "{" not in view.marked:
        return
    decoder, place = json.JSONDecoder(strict=False), 0
    text = _COMMA.sub(" ", view.marked)
    for _ in range(_MOST_OBJECTS):
        opening = _OBJECT.search(text, place)
        if opening is None:
            return
        try:
            value, end = decoder.raw_decode(text, opening.start())
        except (ValueError, RecursionError):
            place = opening.end()
            continue
        place = end
        keyed = [(key, inner) for key, inner in value.items() if key_pattern.fullmatch(f"{key}:")]
        keyed = keyed or [(key, inner) for key, inner in _pairs(value) if key_pattern.fullmatch(f"{key}:")]
        if keyed:
            key, inner = keyed[0]
            written = re.compile(rf"{re.escape(json.dumps(key, ensure_ascii=False))}\s*+:\s*+\"?").search(
                text, opening.start(), end
            )
            start = written.end() if written else opening.start()
            line = Line(_as_line(inner) if len(keyed) == 1 else "", start)
            yield Place(opening.start(), end, line, is_json=True)


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield str(key), child
        yield from _pairs(child)


def _as_line(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(json.dumps(one) if isinstance(one, list) else _as_line(one) for one in value)
    if isinstance(value, dict):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _standing(view: View, begin: int, anywhere: bool) -> Literal["alone", "other", "aside"]:
    """How a label stands: `alone`, as part of an `other` label, or `aside`, where it is no verdict."""
    first = max(view.text.rfind("\n", 0, begin) + 1, begin - _MOST_BEFORE)
    before = view.text[first:begin]
    reported = _REPORTED.search(view.text[max(begin - _MOST_SHOWN, 0) : begin])
    if reported or _QUOTED.match(before) or _MENTIONED.search(_SENTENCE_END.split(before)[-1]):
        return "aside"
    if anywhere or _TALLY.search(before):
        return "other" if _CHOICE.search(before) else "alone"
    while lead := _LEAD.search(before):
        before = before[: lead.start()]
    core = before.rstrip(" \"'([{<#_")
    if not _QUALIFIES.search(core):
        return "alone"
    return "aside" if _BESIDE.search(_PHRASE_END.split(core)[-1].replace("_", " ")) else "other"


def _is_listed(view: View, begin: int) -> bool:
    """Whether a label's line begins as an item of a list does: `2.`, `b)`, `#1`, `Depth:`."""
    first = max(view.text.rfind("\n", 0, begin) + 1, begin - _MOST_BEFORE)
    if _LISTED.match(view.marked[first:begin]):
        return True
    name = _PREFIX.match(view.text[first:begin].strip("\"' ") + " ")
    return name is not None and not _WHOLE.search(name[0])


def _section(view: View, begin: int) -> int | None:
    """Where the heading above a label's line is; None where there is none, or one of the whole."""
    first = view.marked.rfind("\n", 0, begin) + 1
    floor = max(first - _MOST_LINE, 0)
    headings = list(_SECTION.finditer(view.marked[floor:first]))
    return floor + headings[-1].start() if headings and not _WHOLE.search(headings[-1][0]) else None


def _is_headed(view: View, begin: int) -> bool:
    """Whether a label is at the start of a line, below a short line without a mark, such as `Relevance`."""
    before = view.text[max(begin - _MOST_BEFORE, 0) : begin].rstrip(" \"'([{<#_")
    heading = before.rstrip("\n ").rpartition("\n")[2].strip() if before.endswith("\n") else ""
    return _HEADING.fullmatch(heading) is not None and not _WHOLE.search(heading)


def _excerpt(view: View, begin: int) -> str:
    first = max(view.text.rfind("\n", 0, begin) + 1, begin - _MOST_SHOWN)
    return view.text[first : begin + _MOST_SHOWN].partition("\n")[0].strip()


@lru_cache(maxsize=1024)
def compile_label(label: str) -> re.Pattern[str]:
    """A pattern of a label such as `Score:` in a view, in any case and spacing. A colon may be an equals sign."""
    parts = re.findall(r"\w+|[^\w\s*`$]", label)
    words = r"[\s\"'_]*+".join("[:=]" if part == ":" else re.escape(part) for part in parts)
    return re.compile(rf"(?<![^\W_]){words}", re.IGNORECASE)
