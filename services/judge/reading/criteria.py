"""Weighted criteria (Rubrics as Rewards, 2507.17746): how a prompt lists them, and how verdicts become a score."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selfreward.contracts.judging import Criterion
from services.judge.reading.read import CLOSING, Extraction, as_grammar, compile_label

WEIGHTS = {"essential": 1.0, "important": 0.7, "optional": 0.3, "pitfall": 0.9}
"""The weight of a criterion that does not set one, by its label."""
_YES_NO = re.compile(
    rf"(?:(?P<yes>yes|met)|(?P<no>no|not met|unmet))(?![\w'’]){CLOSING}(?![ \t]*+(?:/|or\b|and\b))", re.IGNORECASE
)


@dataclass(frozen=True)
class CriteriaForm:
    """`Criterion 1: yes`: a yes or no after the label of every criterion, in any order; the last of each counts.

    In `label`, `#` stands for the criterion's number.
    """

    label: str
    count: int

    def extract(self, text: str) -> Extraction[tuple[bool, ...]]:
        """The verdicts on all criteria; none where one criterion has no verdict."""
        verdicts, ends, labelled = [], [], False
        for number in range(1, self.count + 1):
            label = self.label.replace("#", str(number))
            starts = [match.end() for match in compile_label(label).finditer(text)]
            labelled = labelled or bool(starts)
            verdict = _YES_NO.match(text, starts[-1]) if starts else None
            if verdict is None:
                return Extraction("unparsed", reason=f"no yes or no after {label!r}", labelled=labelled)
            verdicts.append(verdict["yes"] is not None)
            ends.append(verdict.end())
        return Extraction("ok", tuple(verdicts), labelled=True, end=max(ends))

    @property
    def pattern(self) -> str:
        """The verdicts, one line each."""
        return "\n".join(f"{as_grammar(self.label.replace('#', str(n)))} (yes|no)" for n in range(1, self.count + 1))


def as_list(criteria: Sequence[Criterion]) -> str:
    """The criteria as numbered lines. Drops line breaks within a criterion, which could pose as another criterion."""
    return "\n".join(
        f"{number}. ({criterion.label}) {' '.join(criterion.text.split())}"
        for number, criterion in enumerate(criteria, 1)
    )


def earned_weights(criteria: Sequence[Criterion], verdicts: Sequence[bool]) -> list[bool]:
    """Whether each criterion earns its weight: its verdict is yes, or for a pitfall no."""
    return [verdict != (criterion.label == "pitfall") for criterion, verdict in zip(criteria, verdicts, strict=True)]


def explicit_sum(criteria: Sequence[Criterion], earned: Sequence[bool]) -> float:
    """The weighted share of the criteria that earn their weight, sum(w c) / sum(w), from 0 to 1."""
    weights = [WEIGHTS[criterion.label] if criterion.weight is None else criterion.weight for criterion in criteria]
    return sum(weight for weight, earns in zip(weights, earned, strict=True) if earns) / sum(weights)
