"""Two-turn questions after MT-Bench (Zheng et al. 2023, 2306.05685): asked, answered, graded and scored.

A row of a file of questions is `{"question_id", "category", "turns": [first, second], "reference": [first, second]}`,
as in MT-Bench's own; `reference` may be left out.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from selfreward.client.generator import GeneratorClient
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.client.judge_sync import JudgeClient
from selfreward.contracts.base import Message, content_key, explain
from selfreward.contracts.judging import JudgeItem, Judgment
from selfreward.evaluation.bootstrap import Bootstrap, Ratio, ratio
from selfreward.files.rows import RowError, read_rows
from selfreward.progress import ShowProgress

TURNS = 2
LOWEST, HIGHEST = 1.0, 10.0
TEMPERATURES = {"writing": 0.7, "roleplay": 0.7, "stem": 0.1, "humanities": 0.1}
"""Of the answers, by category; all others are greedy."""
CHECKED = ("math", "reasoning", "coding")
"""Categories that have a right answer: graded beside a reference where the question has one."""

PLAIN, BESIDE_REFERENCE = "mtbench10", "mtbench10_reference"
"""Rubrics of questions without and with a reference answer."""

_AT_ONCE = 16
_READ = ("ok", "unparsed", "out_of_range")
"""Status of the votes whose text was written to its end."""
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
        """The sampling temperature of its answers, by category; 0 is greedy."""
        return TEMPERATURES.get(self.category, 0.0)

    @property
    def has_reference(self) -> bool:
        """Whether it is graded beside a reference answer."""
        return self.category in CHECKED and len(self.reference) == TURNS

    def conversation(self, answers: Sequence[str]) -> list[Message]:
        """The messages that ask the next turn, after `answers` to the turns before."""
        messages = []
        for question, answer in zip(self.turns, answers, strict=False):
            messages += [Message(role="user", content=question), Message(role="assistant", content=answer)]
        return [*messages, Message(role="user", content=self.turns[len(answers)])]


def load_questions(path: Path) -> list[Question]:
    """The questions of a `.jsonl` file. Raises RowError naming the row, the field and the remedy."""
    questions: list[Question] = []
    for row in read_rows(path):
        try:
            questions.append(Question.model_validate(row.values))
        except ValidationError as error:
            raise RowError(f"{path}, {row.place}:\n{explain(error)}") from error
    ids = [str(question.question_id) for question in questions]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise RowError(f"{path}: question_id {twice[0]!r} stands twice; give each question its own")
    if not questions:
        raise RowError(f"{path} has no questions")
    return questions


async def answer_all(
    client: GeneratorClient, questions: Sequence[Question], max_tokens: int, seed: int, progress: ShowProgress
) -> tuple[list[list[str]], set[str]]:
    """Both answers to every question, turn by turn, and the policy versions that gave them. Raises ServiceError."""
    room, versions, done = asyncio.Semaphore(_AT_ONCE), set[str](), 0

    async def answer(question: Question) -> list[str]:
        nonlocal done
        answers: list[str] = []
        async with room:
            for turn in range(TURNS):
                generation = await client.chat(
                    question.conversation(answers),
                    temperature=question.temperature,
                    top_p=1.0,
                    max_tokens=max_tokens,
                    seed=int(content_key(seed, str(question.question_id), turn), 16) % (1 << 31),
                )
                versions.add(generation.policy_version)
                answers.append(generation.responses[0].text)
        done += 1
        progress({"phase": "answer", "done": done, "total": len(questions)})
        return answers

    # Not a group of tasks: its error would be a group too, and the first one says what is wrong.
    return list(await asyncio.gather(*(answer(question) for question in questions))), versions


def grade_all(
    client: JudgeClient,
    questions: Sequence[Question],
    answers: Sequence[Sequence[str]],
    options: JudgeOptions,
    progress: ShowProgress,
) -> tuple[list[list[Judgment]], list[str]]:
    """A judgment of each answer, and the rubrics' ids. Raises ServiceError."""
    judgments: list[list[Judgment]] = [[] for _ in questions]
    rubrics = set()
    for name, beside in ((PLAIN, False), (BESIDE_REFERENCE, True)):
        chosen: JudgeOptions = {**options, "rubric": name}
        places = [place for place, question in enumerate(questions) if question.has_reference is beside]
        items = [
            JudgeItem(
                id=f"{questions[place].question_id}/{turn + 1}",
                prompt=questions[place].conversation(answers[place][:turn]),
                response=answers[place][turn],
                reference=questions[place].reference[turn] if beside else None,
            )
            for place in places
            for turn in range(TURNS)
        ]
        for done, judged in enumerate(client.judge_many(items, **chosen)):
            judgments[places[done // TURNS]].append(judged.judgment)
            rubrics.add(judged.rubric)
            progress({"phase": "grade" + " beside a reference" * beside, "done": done + 1, "total": len(items)})
    return judgments, sorted(rubrics)


def grade_of(judgment: Judgment) -> float | None:
    """The mean of the grades in the votes' texts, 1 to 10; None where no vote has one."""
    grades = [rating(vote.text) for vote in judgment.votes if vote.status in _READ]
    given = [grade for grade in grades if grade is not None]
    return fmean(given) if given else None


def rating(text: str) -> float | None:
    """The grade of 1 to 10 in a judge's text: the last number in double brackets, else in single ones.

    None where there is none or it is out of range: a grade is never guessed.
    """
    numbers = _DOUBLE.findall(text) or _SINGLE.findall(text)
    value = float(numbers[-1]) if numbers else None
    return value if value is not None and LOWEST <= value <= HIGHEST else None


def scores(
    questions: Sequence[Question], ratings: Sequence[Sequence[float | None]], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The mean over all turns, by turn and by category, with intervals over questions, as JSON-ready data.

    `ratings` has each question's two; None is a turn without a grade, which is left out and counted.
    """
    categories = dict.fromkeys(question.category for question in questions)

    def over(turns_by_place: Mapping[int, Sequence[int]]) -> Ratio:
        """The mean over the given turns of the questions at these places."""
        grades = [[ratings[place][turn] for turn in turns] for place, turns in turns_by_place.items()]
        graded = [[grade for grade in row if grade is not None] for row in grades]
        return ratio([sum(row) for row in graded], [len(row) for row in graded])

    places = range(len(questions))
    parts = {
        "score": over({place: range(TURNS) for place in places}),
        **{f"turn_{turn + 1}": over({place: [turn] for place in places}) for turn in range(TURNS)},
    }
    by_category = {
        name: over({place: range(TURNS) for place in places if questions[place].category == name})
        for name in categories
    }
    return {
        "questions": len(questions),
        "unscored_turns": sum(grade is None for row in ratings for grade in row),
        **{name: bootstrap.interval(figure)._asdict() for name, figure in parts.items()},
        "by_category": {name: bootstrap.interval(figure)._asdict() for name, figure in by_category.items()},
    }
