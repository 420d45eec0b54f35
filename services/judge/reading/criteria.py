"""Weighted criteria (Rubrics as Rewards, 2507.17746): how they are shown, and how their verdicts become a score."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfreward.contracts.judging import Criterion
from services.judge.reading.read import CLOSING, Found, as_grammar, compile_label

WEIGHTS = {"essential": 1.0, "important": 0.7, "optional": 0.3, "pitfall": 0.9}
"""Weight of a criterion that gives none."""

_YES_NO = re.compile(
    rf"(?:(?P<yes>yes|met)|(?P<no>no|not met|unmet))(?![\w'’]){CLOSING}(?![ \t]*+(?:/|or\b|and\b))", re.IGNORECASE
)


def as_list(criteria: Sequence[Criterion]) -> str:
    """The criteria as numbered lines, one each: a line break in one could pass for another criterion."""
    return "\n".join(
        f"{number}. ({criterion.label}) {' '.join(criterion.text.split())}"
        for number, criterion in enumerate(criteria, 1)
    )


def earned(criteria: Sequence[Criterion], answers: Sequence[bool]) -> list[bool]:
    """Whether each criterion earns its weight: the answer is yes, or for a pitfall, that is a fault, no."""
    return [answer != (criterion.label == "pitfall") for criterion, answer in zip(criteria, answers, strict=True)]


def explicit_sum(criteria: Sequence[Criterion], gained: Sequence[bool]) -> float:
    """The weighted share of what was earned, sum(w c) / sum(w), from 0 to 1."""
    weights = [WEIGHTS[criterion.label] if criterion.weight is None else criterion.weight for criterion in criteria]
    return sum(weight for weight, gain in zip(weights, gained, strict=True) if gain) / sum(weights)


@dataclass(frozen=True)
class CriteriaForm:
    """A yes or no after the label of every criterion, in any order; the last of each counts."""

    label: str
    count: int

    def find(self, text: str) -> Found[tuple[bool, ...]]:
        """All answers or none: a criterion without one leaves the whole vote unread."""
        answers, ends, labelled = [], [], False
        for number in range(1, self.count + 1):
            starts = [match.end() for match in compile_label(self.label.replace("#", str(number))).finditer(text)]
            labelled = labelled or bool(starts)
            answer = _YES_NO.match(text, starts[-1]) if starts else None
            if answer is None:
                shown = self.label.replace("#", str(number))
                return Found("unparsed", reason=f"no yes or no after {shown!r}", labelled=labelled)
            answers.append(answer["yes"] is not None)
            ends.append(answer.end())
        return Found("ok", tuple(answers), labelled=True, end=max(ends))

    @property
    def pattern(self) -> str:
        """The answers as a grammar, one line each."""
        return "\n".join(f"{as_grammar(self.label.replace('#', str(n)))} (yes|no)" for n in range(1, self.count + 1))
