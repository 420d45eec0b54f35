"""Read a vote: the text that the judge wrote, and nothing else, gives the verdict or the reason why there is none.

The verdict after the last label that stands alone counts, so a judge may think aloud first. What stands in a reasoning
block (`<think>`) is no verdict. A judgment that reached its token limit is `truncated` if it ends in its reasoning or
in its verdict: a number whose end is missing could be another number, and a verdict before more reasoning may change.
"""

import re
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from selfreward.contracts.judging import VoteStatus
from services.judge.reading.view import blank_reasoning

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

BROKEN_OFF = ("abort", "error")
"""The engine's finish reasons for a completion that it did not finish."""
_REFUSAL = re.compile(
    r"\W*(?:(?:i['’]m|i am) (?:\w+ )?(?:sorry|afraid|unable|not able)|sorry\b|i apologi[sz]e|as an ai\b"
    r"|i (?:cannot|can['’]t|can not|won['’]t|will not|must decline)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Extraction(Generic[Value_co]):
    """What a form extracts from a judge's text. `value` is set exactly when `status` is `ok`.

    `labelled`: the text has the verdict's label. `start`: the index of the verdict's own token. `end`: the index after
    the verdict; None where the text has none.
    """

    status: Literal["ok", "unparsed", "out_of_range"]
    value: Value_co | None = None
    reason: str | None = None
    labelled: bool = False
    start: int = 0
    end: int | None = None


class VerdictForm(Protocol[Value_co]):
    """How a verdict is written: extracted from a text, and demanded by a grammar."""

    def extract(self, text: str) -> Extraction[Value_co]:
        """The verdict that counts."""

    @property
    def lead(self) -> str:
        """How the verdict begins, up to what the judge decides: its label."""

    @property
    def rest(self) -> str:
        """What may follow the `lead`, as a simple regular expression for constrained decoding.

        A space before a word is optional, because some tokenizers have none.
        """


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value_co]):
    """One completion, read. `value` is set exactly when `status` is `ok`, `reason` exactly when it is not.

    `start` is the index in `text` of the verdict's own token.
    """

    status: VoteStatus
    value: Value_co | None
    text: str
    finish_reason: str | None
    reason: str | None
    start: int = 0


def read(text: str, finish_reason: str | None, form: VerdictForm[Value], refusal: str | None = None) -> Reading[Value]:
    """Read the verdict of a completion. `finish_reason` and `refusal` are the engine's own fields."""

    def invalid(status: VoteStatus, reason: str | None) -> Reading[Value]:
        return Reading(status, None, text or refusal or "", finish_reason, reason)

    # The engine's own word comes first: it broke off, or it refused.
    if finish_reason in BROKEN_OFF:
        return invalid("error", f"the engine broke off: finish_reason is {finish_reason!r}")
    if refusal or finish_reason == "content_filter":
        return invalid("refused", "the engine reports a refusal" if refusal else "the engine's content filter cut it")

    # Then the verdict in the answer, without the reasoning before it.
    answer, unfinished = blank_reasoning(text)
    if unfinished:
        return invalid("truncated", "the text ends inside of its reasoning")
    extraction = form.extract(answer)
    if finish_reason == "length" and _is_cut(answer, extraction):
        return invalid("truncated", "the token limit was reached before a complete verdict")
    if extraction.status == "unparsed" and not extraction.labelled and _REFUSAL.match(answer):
        return invalid("refused", "the judge declines in its own words")
    if extraction.status != "ok":
        return invalid(extraction.status, extraction.reason)
    return Reading("ok", extraction.value, text, finish_reason, None, extraction.start)


def _is_cut(answer: str, extraction: Extraction[object]) -> bool:
    """Whether an answer that reached its limit lacks the end of its verdict, or goes on to reason after it.

    A verdict on the first line came before any reasoning, so what follows only explains it.
    """
    if extraction.end is None or "\n" not in answer[extraction.end :]:
        return True
    later = answer[extraction.end :].partition("\n")[2]
    return bool(later.strip()) and "\n" in answer[: extraction.start].strip()


def as_grammar(literal: str) -> str:
    """A literal in a grammar's regular expression. Escapes only what is special there."""
    return re.sub(r"([\\.^$*+?()\[\]{}|/])", r"\\\1", literal)
