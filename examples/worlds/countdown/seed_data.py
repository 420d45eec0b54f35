"""Seed data of the demo: ``python -m examples.worlds.countdown.seed_data --seed N --out DIR``.

Writes the data that people bring to the loop. ``ift.jsonl`` {"prompt", "response"}: a few demonstrations, the answers
that annotators rank best. ``solutions.jsonl`` {"prompt", "response"}: many more of them, for methods that learn from
demonstrations in every round. ``eft.jsonl`` and ``eft_eval.jsonl`` {"prompt", "responses": [{"text", "rank"}]}:
answers ranked by annotators, 1 is best, equal ranks allowed. ``prompts.jsonl`` {"prompt"}: the prompts of the rounds.
``heldout.jsonl`` {"prompt"}: evaluation problems that no pretraining, demonstration or round has seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.countdown.attempts import Flaw, Habit, attempt
from examples.worlds.countdown.checker import Problem, score
from examples.worlds.countdown.problems import all_problems, render_prompt, shuffle_numbers
from examples.worlds.seed_files import comparison, draw, run_command, write_files

IFT_ROWS: Final = 300
SOLUTION_ROWS: Final = 2000
EFT_PROMPTS: Final = 600
EFT_EVAL_PROMPTS: Final = 150
POOL_PROMPTS: Final = 8000
HELDOUT_PROMPTS: Final = 2000

CANDIDATE_HABITS: Final[dict[Habit, float]] = {
    "clean": 0.40,
    "stop": 0.08,
    "invent": 0.14,
    "reuse": 0.24,
    "repeat": 0.07,
    "chat": 0.07,
}
CANDIDATE_FLAWS: Final[dict[Flaw, float]] = {
    "none": 0.45,
    "failed": 0.17,
    "wish": 0.11,
    "slip": 0.07,
    "misread": 0.16,
    "debris": 0.04,
}


def demonstrations(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """A solution of each problem."""
    stated = [shuffle_numbers(problem, rng) for problem in problems]
    return [{"prompt": render_prompt(problem), "response": attempt(problem, rng)} for problem in stated]


def comparisons(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """Four different ranked answers per problem, of at least two ranks."""
    rows = []
    for problem in problems:
        stated = shuffle_numbers(problem, rng)

        def write(stated: Problem = stated) -> str:
            return attempt(stated, rng, draw(CANDIDATE_HABITS, rng), draw(CANDIDATE_FLAWS, rng))

        rows.append(comparison(render_prompt(stated), write, score))
    return rows


def prompts(problems: Iterable[Problem], rng: Random) -> list[dict[str, Any]]:
    """The problems as prompts, with the numbers in random order."""
    return [{"prompt": render_prompt(shuffle_numbers(problem, rng))} for problem in problems]


def build(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All files' rows by file stem, the same for the same seed; every problem is used once."""
    rng = Random(seed)
    train = iter(rng.sample(all_problems("train"), IFT_ROWS + EFT_PROMPTS + POOL_PROMPTS + SOLUTION_ROWS))
    return {
        "ift": demonstrations(islice(train, IFT_ROWS), rng),
        "eft": comparisons(islice(train, EFT_PROMPTS), rng),
        "eft_eval": comparisons(rng.sample(all_problems("eft_eval"), EFT_EVAL_PROMPTS), rng),
        "prompts": prompts(islice(train, POOL_PROMPTS), rng),
        "heldout": prompts(rng.sample(all_problems("heldout"), HELDOUT_PROMPTS), rng),
        "solutions": demonstrations(train, rng),
    }


def write_seed_data(seed: int, out: Path) -> dict[str, int]:
    """Write the files of a seed into a folder; returns their numbers of rows by file stem."""
    return write_files(build(seed), out)


if __name__ == "__main__":
    run_command(__doc__, write_seed_data)
