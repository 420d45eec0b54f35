"""Weighted criteria (Rubrics as Rewards, 2507.17746): how a prompt lists them, and how verdicts become a score."""

from collections.abc import Sequence
from dataclasses import dataclass

from selfreward.contracts.judging import Criterion
from services.judge.reading.read import Extraction, as_grammar
from services.judge.reading.words import yes_or_no

WEIGHTS = {"essential": 1.0, "important": 0.7, "optional": 0.3, "pitfall": 0.9}
"""The weight of a criterion that does not set one, by its label."""


@dataclass(frozen=True)
class CriteriaForm:
    """`Criterion 1: yes`: a yes or no after the label of every criterion, in any order; the last of each counts.

    In `label`, `#` stands for the criterion's number.
    """

    label: str
    count: int

    def extract(self, text: str) -> Extraction[tuple[bool, ...]]:
        """The verdicts on all criteria; none where one criterion has no verdict."""
        verdicts, starts, ends, labelled = [], [], [], False
        for number in range(1, self.count + 1):
            label = self._label(number)
            verdict = yes_or_no(label).extract(text)
            labelled = labelled or verdict.labelled
            if verdict.value is None or verdict.end is None:
                reason = f"no yes or no after {label!r}"
                return Extraction("unparsed", reason=reason, labelled=labelled)
            verdicts.append(verdict.value)
            starts.append(verdict.start)
            ends.append(verdict.end)
        return Extraction("ok", tuple(verdicts), labelled=True, start=min(starts), end=max(ends))

    def _label(self, number: int) -> str:
        return self.label.replace("#", str(number))

    @property
    def lead(self) -> str:
        """The label of the first criterion."""
        return self._label(1)

    @property
    def rest(self) -> str:
        """The verdicts, one line each."""
        lines = [f"{as_grammar(self._label(number))} ?(yes|no)" for number in range(2, self.count + 1)]
        return "\n".join([" ?(yes|no)", *lines])


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
