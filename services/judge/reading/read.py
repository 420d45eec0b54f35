"""Read one judgment: the text that the judge wrote, and nothing else, becomes a vote.

The last `Score: <number>` counts, so a judge may think aloud first. The number is read whole and then checked against
the scale: `10` is out of range on a scale of 5, never 1, and `1e-1`, `4-5` or `4,5` are not scores. A judgment that
hit its token limit is `truncated`, unless its verdict was already complete (ended by a line break): a number whose
end was never seen could have become another one.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, Protocol, TypeVar

from selfreward.contracts.judging import Vote, VoteStatus

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

OPENING = r"[\s*_`\"'(\[{<$]*+"
CLOSING = r"[*_`\"')\]}>$]*+"
_NUMBER = r"[0-9]++(?:\.[0-9]++)?+"
_SCORE = re.compile(
    rf"(?P<value>[+-]?{_NUMBER}){CLOSING}"
    rf"(?:[ \t]*+(?:/|out of|of)[ \t]*+(?P<of>{_NUMBER}){CLOSING})?+"
    r"(?![\w%/]|[.,:][0-9]|[ \t]*(?:-|–|—|~|to|or)[ \t]*[0-9])",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\W*(?:(?:i['’]m|i am) (?:\w+ )?(?:sorry|afraid|unable|not able)|sorry\b|i apologi[sz]e|as an ai\b"
    r"|i (?:cannot|can['’]t|can not|won['’]t|will not|must decline)\b)",
    re.IGNORECASE,
)
BROKEN_OFF = ("abort", "error")
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Found(Generic[Value_co]):
    """What stands in a judge's text. `labelled`: the verdict's label does; `end`: where a verdict ends, if there is
    one; `start`: where its own token begins."""

    status: Literal["ok", "unparsed", "out_of_range"]
    value: Value_co | None = None
    reason: str | None = None
    labelled: bool = False
    start: int = 0
    end: int | None = None


class Form(Protocol[Value_co]):
    """How a verdict is written: found in a text, and (`pattern`) demanded by a grammar."""

    def find(self, text: str) -> Found[Value_co]:
        """The verdict that counts."""

    @property
    def pattern(self) -> str:
        """The verdict's exact form as a regular expression of the plainest kind, for guided decoding."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value_co]):
    """One completion, read. `value` is set exactly when `status` is `ok`; `reason` exactly when it is not."""

    status: VoteStatus
    value: Value_co | None
    text: str
    finish_reason: str | None
    reason: str | None
    start: int = 0


def read(text: str, finish_reason: str | None, form: Form[Value], refusal: str | None = None) -> Reading[Value]:
    """What a completion says. `finish_reason` and `refusal` are the engine's own fields."""

    def invalid(status: VoteStatus, reason: str | None) -> Reading[Value]:
        return Reading(status, None, text or refusal or "", finish_reason, reason)

    if finish_reason in BROKEN_OFF:
        return invalid("error", f"the engine broke off: finish_reason is {finish_reason!r}")
    if refusal or finish_reason == "content_filter":
        return invalid("refused", "the engine reports a refusal" if refusal else "the engine's content filter cut it")
    found = form.find(text)
    if finish_reason == "length" and (found.end is None or "\n" not in text[found.end :]):
        return invalid("truncated", "the token limit was reached before a complete verdict")
    if found.status == "unparsed" and not found.labelled and _REFUSAL.match(text):
        return invalid("refused", "the judge declines in its own words")
    if found.status != "ok":
        return invalid(found.status, found.reason)
    return Reading("ok", found.value, text, finish_reason, None, found.start)


@lru_cache(maxsize=1024)
def compile_label(label: str, ahead: str = "") -> re.Pattern[str]:
    """A label such as `Score:` and what opens its verdict; it may be dressed in markdown and be in any case.

    `ahead`: what must follow, as a pattern.
    """
    parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]", label)]
    words = r"[\s*_`\"']*+".join("[:：]" if part == ":" else part for part in parts)
    return re.compile(rf"(?<![^\W_]){words}{OPENING}{ahead}", re.IGNORECASE)


def as_grammar(literal: str) -> str:
    """A literal in a grammar's regular expression: only what is special there is escaped."""
    return re.sub(r"([\\.^$*+?()\[\]{}|/])", r"\\\1", literal)


@dataclass(frozen=True)
class VerdictFormat:
    """Where the score stands (after `label`) and its inclusive range. `shown` is the label as the rubric has it."""

    label: re.Pattern[str]
    minimum: float
    maximum: float
    shown: str = "Score:"

    def find(self, text: str) -> Found[float]:
        """The last number that follows the label."""
        starts = [match.end() for match in self.label.finditer(text)]
        if not starts:
            return Found("unparsed", reason=f"no number after {self.shown!r}")
        score = _SCORE.match(text, starts[-1])
        if score is None:
            seen = text[starts[-1] : starts[-1] + _SHOWN]
            return Found("unparsed", reason=f"{seen!r} is not one plain number", labelled=True)
        value, scale, end = float(score["value"]), score["of"], score.end()
        if not self.minimum <= value <= self.maximum:
            reason = f"{score['value'][:_SHOWN]} is not within {self.minimum:g} to {self.maximum:g}"
            return Found("out_of_range", reason=reason, labelled=True, end=end)
        if scale is not None and float(scale) != self.maximum:
            reason = f"{score['value']} of {scale[:_SHOWN]}: the scale ends at {self.maximum:g}"
            return Found("out_of_range", reason=reason, labelled=True, end=end)
        return Found("ok", value, labelled=True, start=score.start("value"), end=end)

    @property
    def pattern(self) -> str:
        """Every whole number of a short scale, else a decimal."""
        whole = self.minimum.is_integer() and self.maximum.is_integer() and self.maximum - self.minimum <= 100
        number = (
            f"({'|'.join(str(n) for n in range(int(self.minimum), int(self.maximum) + 1))})"
            if whole
            else "-?[0-9]{1,6}(\\.[0-9]{1,2})?"
        )
        return f"{as_grammar(self.shown)} {number}"


def compile_verdict(label: str, minimum: float, maximum: float) -> VerdictFormat:
    """The format of verdicts such as `Score: 4`."""
    return VerdictFormat(compile_label(label, "(?=[+-]?[0-9])"), float(minimum), float(maximum), label)


def parse_vote(text: str, finish_reason: str | None, form: VerdictFormat, refusal: str | None = None) -> Vote:
    """The vote that a completion casts by a number. `finish_reason` and `refusal` are the engine's own fields."""
    reading = read(text, finish_reason, form, refusal)
    return Vote(
        score=reading.value,
        status=reading.status,
        text=reading.text,
        finish_reason=finish_reason,
        reason=reading.reason,
    )
