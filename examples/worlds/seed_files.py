"""What the seed data of several worlds share: draws by share, answers ranked by points, files, and the command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

Key = TypeVar("Key", bound=str)
Row = dict[str, Any]

RESPONSES: Final = 4
"""How many answers to a prompt are ranked."""


def draw(shares: Mapping[Key, float], rng: Random) -> Key:
    """One key, drawn with probability proportional to its share."""
    return rng.choices(list(shares), list(shares.values()))[0]


def rank(prompt: str, answers: Sequence[str], points: Callable[[str, str], int]) -> list[Row]:
    """The answers with ranks by an annotator's points. 1 is best; equal points share a rank."""
    scores = [points(prompt, answer) for answer in answers]
    order = sorted(set(scores), reverse=True)
    return [{"text": answer, "rank": order.index(score) + 1} for answer, score in zip(answers, scores, strict=True)]


def comparison(prompt: str, write: Callable[[], str], points: Callable[[str, str], int]) -> Row:
    """`RESPONSES` different answers, each from `write`, with ranks of which at least two differ."""
    while True:
        answers: list[str] = []
        while len(answers) < RESPONSES:
            answer = write()
            if answer not in answers:
                answers.append(answer)
        responses = rank(prompt, answers, points)
        if len({response["rank"] for response in responses}) > 1:
            return {"prompt": prompt, "responses": responses}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write a file of JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_files(built: Mapping[str, Sequence[Row]], out: Path) -> dict[str, int]:
    """Write `<stem>.jsonl` of each stem into a folder; returns their numbers of rows by stem."""
    out.mkdir(parents=True, exist_ok=True)
    for stem, rows in built.items():
        write_rows(out / f"{stem}.jsonl", rows)
    return {stem: len(rows) for stem, rows in built.items()}


def run_command(description: str | None, write: Callable[[int, Path], Mapping[str, int]]) -> None:
    """The command line of a world's seed data: `--seed N --out DIR`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for stem, count in write(arguments.seed, arguments.out).items():
        print(f"{stem}.jsonl: {count} rows")
