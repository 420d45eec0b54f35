"""Labelled answers of any of five formats, as prompts with answers and a gold order.

- RewardBench-style `{"prompt", "chosen", "rejected"}`; each a text or a message list (TRL's preference format too);
- RewardBench 2 (huggingface.co/datasets/allenai/reward-bench-2): the same with lists of texts, right and wrong answers;
- JudgeBench `{"pair_id", "question", "response_A", "response_B", "label"}`, label `A>B` or `B>A`
  (huggingface.co/datasets/ScalerLab/JudgeBench);
- MT-Bench human judgments `{"question_id", "model_a", "model_b", "winner", "turn", "conversation_a", "conversation_b"}`
  (huggingface.co/datasets/lmsys/mt_bench_human_judgments), ties included;
- our EFT evaluation format `{"prompt", "responses": [{"text", "rank"}]}`, rank 1 the best, equal ranks are ties. A
  response may name its `model`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from selfreward.contracts.conversations import Conversation, conversation
from selfreward.files.rows import Row, RowError, read_rows

_SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Labelled:
    """Answers to one prompt; `gold` is higher for the better. `group` is what the bootstrap resamples as one.

    `ties`: equal gold says that answers are equally good. Without it, gold only says which are right and which wrong.
    `models`: which model wrote each answer; empty where that is not known.
    """

    group: str
    prompt: Conversation
    responses: list[Conversation]
    gold: list[float]
    ties: bool = True
    models: tuple[str | None, ...] = ()


def load_labelled(path: Path) -> tuple[str, list[Labelled]]:
    """Name of the format, told by the first row, and all rows. Raises RowError listing the first problems."""
    rows = read_rows(path)
    first = next(rows, None)
    if first is None:
        raise RowError(f"{path} has no rows: nothing to measure")
    name = _format(path, first)
    loaded, problems = [], []
    for row in chain([first], rows):
        try:
            loaded.append(_READERS[name](row.place, row.values))
        except ValueError as error:
            problems.append(f"{path}, {row.place}: {error}")
        if len(problems) == _SHOWN_PROBLEMS:
            break
    if problems:
        raise RowError("\n".join(problems))
    return name, loaded


def text_length(turns: Conversation) -> int:
    """Length of an answer in characters."""
    return len(turns) if isinstance(turns, str) else sum(len(turn.content) for turn in turns)


def _format(path: Path, first: Row) -> str:
    for name, columns in _COLUMNS.items():
        if columns <= first.values.keys():
            return name
    formats = "; ".join(f"{name}: {', '.join(sorted(columns))}" for name, columns in _COLUMNS.items())
    raise RowError(f"{path}, {first.place} has columns {', '.join(first.values)}: use those of one format ({formats})")


def _rewardbench(place: str, row: Mapping[str, Any]) -> Labelled:
    turns = [_turns(row, name) for name in ("prompt", "chosen", "rejected")]
    return Labelled(place, turns[0], turns[1:], [1.0, 0.0])


def _rewardbench_2(place: str, row: Mapping[str, Any]) -> Labelled:
    right, wrong = (_texts(row.get(name), name) for name in ("chosen", "rejected"))
    gold = [1.0] * len(right) + [0.0] * len(wrong)
    return Labelled(place, _turns(row, "prompt"), [*right, *wrong], gold, ties=False)


def _texts(value: Any, name: str) -> Sequence[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} = {value!r:.60}: give a list of texts")
    return value


def _judgebench(_: str, row: Mapping[str, Any]) -> Labelled:
    gold = {"A>B": [1.0, 0.0], "B>A": [0.0, 1.0]}.get(str(row.get("label")))
    if gold is None:
        raise ValueError(f"label = {row.get('label')!r}: use A>B or B>A")
    turns = [_turns(row, name) for name in ("question", "response_A", "response_B")]
    # Several pairs of answers may be to one question.
    return Labelled(str(row.get("original_id", row["pair_id"])), turns[0], turns[1:], gold)


def _eft(place: str, row: Mapping[str, Any]) -> Labelled:
    answers = row.get("responses")
    if not isinstance(answers, list) or len(answers) < 2:
        raise ValueError(f"responses = {answers!r:.60}: give at least two answers with text and rank")
    texts, ranks = [], []
    for index, answer in enumerate(answers):
        rank = answer.get("rank") if isinstance(answer, dict) else None
        if not isinstance(rank, int | float) or isinstance(rank, bool):
            raise ValueError(f"responses[{index}].rank = {rank!r}: give a number, 1 for the best")
        texts.append(_turns(answer, "text", f"responses[{index}].text"))
        ranks.append(-float(rank))
    models = tuple(answer.get("model") for answer in answers)
    return Labelled(place, _turns(row, "prompt"), texts, ranks, models=models)


def _turns(row: Mapping[str, Any], name: str, field: str | None = None) -> Conversation:
    turns = conversation(row.get(name), field or name)
    if turns == []:
        raise ValueError(f"{field or name} = {row.get(name)!r:.60}: give a text, or messages with a text")
    return turns


def _mt_bench(_: str, row: Mapping[str, Any]) -> Labelled:
    """Of a second turn, the whole conversation after the shared first question is what is compared."""
    turn, winner = row.get("turn"), str(row.get("winner"))
    if turn not in (1, 2):
        raise ValueError(f"turn = {turn!r}: use 1 or 2")
    gold = {"model_a": [1.0, 0.0], "model_b": [0.0, 1.0]}.get(winner, [0.0, 0.0] if winner.startswith("tie") else None)
    if gold is None:
        raise ValueError(f"winner = {winner!r}: use model_a, model_b or tie")
    answers: list[Conversation] = []
    for name in ("conversation_a", "conversation_b"):
        messages = conversation(row.get(name), name)
        if isinstance(messages, str) or len(messages) < 2 * turn:
            raise ValueError(f"{name} has too few messages for turn {turn}: give question and answer of each turn")
        answers.append(messages[1 : 2 * turn])
    question = conversation(row["conversation_a"], "conversation_a")[:1]
    return Labelled(str(row.get("question_id")), question, answers, gold)


_COLUMNS = {
    "rewardbench_2": {"prompt", "chosen", "rejected", "num_correct"},
    "judgebench": {"pair_id", "question", "response_A", "response_B", "label"},
    "rewardbench": {"prompt", "chosen", "rejected"},
    "mt_bench": {"question_id", "winner", "turn", "conversation_a", "conversation_b"},
    "eft": {"prompt", "responses"},
}
_READERS: dict[str, Callable[[str, Mapping[str, Any]], Labelled]] = {
    "rewardbench_2": _rewardbench_2,
    "judgebench": _judgebench,
    "rewardbench": _rewardbench,
    "mt_bench": _mt_bench,
    "eft": _eft,
}


def pairs_of(rows: list[Labelled]) -> Iterator[tuple[int, int, int]]:
    """Row, first and second answer of every pair of answers to the same prompt.

    Without pairs that nothing is known about: those of equal gold where that does not say that they are equally good.
    """
    for index, row in enumerate(rows):
        for a in range(len(row.responses)):
            for b in range(a + 1, len(row.responses)):
                if row.ties or row.gold[a] != row.gold[b]:
                    yield index, a, b
