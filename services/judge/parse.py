"""Read one judgment: the text that the judge wrote, and nothing else, becomes a vote.

The last `Score: <number>` counts, so a judge may think aloud first. The number is read whole and then checked against
the scale: `10` is out of range on a scale of 5, never 1, and `1e-1`, `4-5` or `4,5` are not scores. A judgment that
hit its token limit is `truncated`, unless its score line was already complete (ended by a line break): a number whose
end was never seen could have become another one.
"""

import re
from dataclasses import dataclass

from selfreward.contracts import Vote

_OPENING = r"[\s*_`\"'(\[{<$]*+"
_CLOSING = r"[*_`\"')\]}>$]*+"
_NUMBER = r"[0-9]++(?:\.[0-9]++)?+"
_SCORE = re.compile(
    rf"(?P<value>[+-]?{_NUMBER}){_CLOSING}"
    rf"(?:[ \t]*+(?:/|out of|of)[ \t]*+(?P<of>{_NUMBER}){_CLOSING})?+"
    r"(?![\w%/]|[.,:][0-9]|[ \t]*(?:-|–|—|~|to|or)[ \t]*[0-9])",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\W*(?:(?:i['’]m|i am) (?:\w+ )?(?:sorry|afraid|unable|not able)|sorry\b|i apologi[sz]e|as an ai\b"
    r"|i (?:cannot|can['’]t|can not|won['’]t|will not|must decline)\b)",
    re.IGNORECASE,
)
_BROKEN_OFF = ("abort", "error")


@dataclass(frozen=True)
class VerdictFormat:
    """Where the score stands (after `label`) and its inclusive range."""

    label: re.Pattern[str]
    minimum: float
    maximum: float


def compile_verdict(label: str, minimum: float, maximum: float) -> VerdictFormat:
    """The format of verdicts such as `Score: 4`; `label` may be dressed in markdown and in any case."""
    parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]", label)]
    words = r"[\s*_`\"']*+".join("[:：]" if part == ":" else part for part in parts)
    pattern = rf"(?<![^\W_]){words}{_OPENING}(?=[+-]?[0-9])"
    return VerdictFormat(re.compile(pattern, re.IGNORECASE), minimum, maximum)


def parse_vote(text: str, finish_reason: str | None, form: VerdictFormat, refusal: str | None = None) -> Vote:
    """The vote that a completion casts. `finish_reason` and `refusal` are the engine's own fields."""

    def invalid(status: str) -> Vote:
        return Vote.model_validate({"status": status, "text": text or refusal or "", "finish_reason": finish_reason})

    if finish_reason in _BROKEN_OFF:
        return invalid("error")
    if refusal or finish_reason == "content_filter":
        return invalid("refused")
    starts = [match.end() for match in form.label.finditer(text)]
    score = _SCORE.match(text, starts[-1]) if starts else None
    if finish_reason == "length" and (score is None or "\n" not in text[score.end() :]):
        return invalid("truncated")
    if score is None:
        return invalid("refused" if not starts and _REFUSAL.match(text) else "unparsed")
    value, scale = float(score["value"]), score["of"]
    if not form.minimum <= value <= form.maximum or (scale is not None and float(scale) != form.maximum):
        return invalid("out_of_range")
    return Vote(score=value, status="ok", text=text, finish_reason=finish_reason)
