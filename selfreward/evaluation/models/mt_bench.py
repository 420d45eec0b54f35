"""Two-turn questions after MT-Bench (Zheng et al. 2023, 2306.05685): what is asked, at which temperature, what counts.

A row of a file of questions is `{"question_id", "category", "turns": [first, second], "reference": [first, second]}`,
as in MT-Bench's own; `reference` may be left out.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selfreward.contracts.base import Message, explain
from selfreward.evaluation.bootstrap import Bootstrap, Ratio, ratio
from selfreward.files.rows import RowError, read_rows

TURNS = 2
LOWEST, HIGHEST = 1.0, 10.0
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of the answers, by category; all others are greedy."""
CHECKED = ("math", "reasoning", "coding")
"""Categories that have a right answer: graded beside a reference where the question has one."""

_DOUBLE = re.compile(r"\[\[\s*(\d+\.?\d*)\s*\]\]")
_SINGLE = re.compile(r"\[\s*(\d+\.?\d*)\s*\]")


class Question(BaseModel):
    """A question of two turns. `reference` has an answer for each, which is known to be right."""

    model_config = ConfigDict(extra="ignore")

    question_id: str | int
    category: str = Field(min_length=1)
    turns: list[str] = Field(min_length=TURNS, max_length=TURNS)
    reference: list[str] = Field(default=[], max_length=TURNS)

    @model_validator(mode="after")
    def _all_references_or_none(self) -> "Question":
        if self.category in CHECKED and len(self.reference) not in (0, TURNS):
            raise ValueError(
                f"reference has {len(self.reference)} entries for {TURNS} turns: give one for each, or none"
            )
        return self

    @property
    def temperature(self) -> float:
        """At which its answers are sampled."""
        return TEMPERATURES.get(self.category, 0.0)

    @property
    def has_reference(self) -> bool:
        """Whether it is graded beside a reference answer."""
        return self.category in CHECKED and len(self.reference) == TURNS

    def conversation(self, answers: Sequence[str]) -> list[Message]:
        """What is asked next, after `answers` to the turns before."""
        messages = []
        for question, answer in zip(self.turns, answers, strict=False):
            messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
        return [*messages, Message(role="user", content=self.turns[len(answers)])]


def load_questions(path: Path) -> list[Question]:
    """The questions of a `.jsonl` file. Raises RowError naming the row, the field and the remedy."""
    found: list[Question] = []
    for row in read_rows(path):
        try:
            found.append(Question.model_validate(row.values))
        except ValidationError as error:
            raise RowError(f"{path}, {row.place}:\n{explain(error)}") from error
    ids = [str(question.question_id) for question in found]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise RowError(f"{path}: question_id {twice[0]!r} stands twice; give each question its own")
    if not found:
        raise RowError(f"{path} has no questions")
    return found


def rating(text: str) -> float | None:
    """The grade of 1 to 10 in a judge's text: the last number in double brackets, else in single ones.

    None where there is none or it is out of range: a grade is never guessed.
    """
    found = _DOUBLE.findall(text) or _SINGLE.findall(text)
    value = float(found[-1]) if found else None
    return value if value is not None and LOWEST <= value <= HIGHEST else None


def scores(
    questions: Sequence[Question], ratings: Sequence[Sequence[float | None]], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The mean over all turns, by turn and by category, with intervals over questions, as JSON-ready data.

    `ratings` has each question's two; None is a turn without a grade, which is left out and counted.
    """
    categories = dict.fromkeys(question.category for question in questions)

    def over(kept: Mapping[int, Sequence[int]]) -> Ratio:
        """Of the questions by place, with the turns that count."""
        given = [[r for turn in turns if (r := ratings[place][turn]) is not None] for place, turns in kept.items()]
        return ratio([sum(row) for row in given], [len(row) for row in given])

    everything = range(len(questions))
    parts = {
        "score": over({place: range(TURNS) for place in everything}),
        **{f"turn_{turn + 1}": over({place: [turn] for place in everything}) for turn in range(TURNS)},
    }
    by_category = {
        name: over({place: range(TURNS) for place in everything if questions[place].category == name})
        for name in categories
    }
    return {
        "questions": len(questions),
        "unscored_turns": sum(grade is None for row in ratings for grade in row),
        **{name: bootstrap.interval(figure)._asdict() for name, figure in parts.items()},
        "by_category": {name: bootstrap.interval(figure)._asdict() for name, figure in by_category.items()},
    }
