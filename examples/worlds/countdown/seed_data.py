"""Seed data of the demo: ``python -m examples.worlds.countdown.seed_data --seed N --out DIR``.

Writes the data that people bring to the loop. ``ift.jsonl`` {"prompt", "response"}: demonstrations of mixed
quality. ``eft.jsonl`` and ``eft_eval.jsonl`` {"prompt", "responses": [{"text", "rank"}]}: answers ranked by
annotators, 1 is best, equal ranks allowed. ``prompts.jsonl`` {"prompt"}: the prompts of the rounds.
``heldout.jsonl`` {"prompt"}: evaluation problems that no pretraining, demonstration or round has seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.countdown.attempts import Flaw, Habit, attempt, draw
from examples.worlds.countdown.checker import Problem, score
from examples.worlds.countdown.problems import all_problems, render_prompt, shuffle_numbers

IFT_ROWS: Final = 3200
EFT_PROMPTS: Final = 1200
POOL_PROMPTS: Final = 2000
RESPONSES: Final = 4

DEMONSTRATION_HABITS: Final[dict[Habit, float]] = {
    "clean": 0.40,
    "stop": 0.24,
    "repeat": 0.18,
    "chat": 0.18,
}
CANDIDATE_HABITS: Final[dict[Habit, float]] = {
    "clean": 0.40,
    "stop": 0.12,
    "invent": 0.12,
    "reuse": 0.14,
    "repeat": 0.11,
    "chat": 0.11,
}
CANDIDATE_FLAWS: Final[dict[Flaw, float]] = {
    "none": 0.52,
    "failed": 0.20,
    "wish": 0.14,
    "slip": 0.08,
    "debris": 0.06,
}


def rank(prompt: str, answers: list[str], points: Callable[[str, str], int] = score) -> list[dict[str, Any]]:
    """The answers with ranks by an annotator's points (by default the exact ones). 1 is best; equal points share a
    rank."""
    scores = [points(prompt, answer) for answer in answers]
    order = sorted(set(scores), reverse=True)
    return [{"text": a, "rank": order.index(s) + 1} for a, s in zip(answers, scores, strict=True)]


def demonstrations(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """One demonstration per problem, flawed by a habit more often than not."""
    rows = []
    for problem in problems:
        stated = shuffle_numbers(problem, rng)
        answer = attempt(stated, rng, draw(DEMONSTRATION_HABITS, rng))
        rows.append({"prompt": render_prompt(stated), "response": answer})
    return rows


def comparisons(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """Four different ranked answers per problem, of at least two ranks."""
    rows = []
    for problem in problems:
        stated = shuffle_numbers(problem, rng)
        prompt = render_prompt(stated)
        while True:
            answers: list[str] = []
            while len(answers) < RESPONSES:
                answer = attempt(stated, rng, draw(CANDIDATE_HABITS, rng), draw(CANDIDATE_FLAWS, rng))
                if answer not in answers:
                    answers.append(answer)
            responses = rank(prompt, answers)
            if len({r["rank"] for r in responses}) > 1:
                break
        rows.append({"prompt": prompt, "responses": responses})
    return rows


def prompts(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """The problems as prompts, with the numbers in random order."""
    return [{"prompt": render_prompt(shuffle_numbers(problem, rng))} for problem in problems]


def build(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All files' rows by file stem, the same for the same seed; every problem is used once.

    Demonstrations draw with replacement, because the train split has fewer problems than are asked for.
    """
    rng = Random(seed)
    train = list(all_problems("train"))
    rng.shuffle(train)
    eft, rest = train[:EFT_PROMPTS], train[EFT_PROMPTS:]
    pool, rest = rest[:POOL_PROMPTS], rest[POOL_PROMPTS:]
    return {
        "ift": demonstrations(rng.choices(rest, k=IFT_ROWS), rng),
        "eft": comparisons(eft, rng),
        "eft_eval": comparisons(all_problems("eft_eval"), rng),
        "prompts": prompts(pool, rng),
        "heldout": prompts(all_problems("heldout"), rng),
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_seed_data(seed: int, out: Path) -> dict[str, int]:
    """Write the five files of a seed into a folder; returns their numbers of rows by file stem."""
    out.mkdir(parents=True, exist_ok=True)
    built = build(seed)
    for stem, rows in built.items():
        write_rows(out / f"{stem}.jsonl", rows)
    return {stem: len(rows) for stem, rows in built.items()}


def main() -> None:
    """Write the five files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for stem, count in write_seed_data(args.seed, args.out).items():
        print(f"{stem}.jsonl: {count} rows")


if __name__ == "__main__":
    main()
