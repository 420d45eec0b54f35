"""Seed data: ``python -m examples.worlds.integration.seed_data --seed N --out DIR``.

``ift.jsonl`` {"prompt", "response"}: few clean answers, and reviews of answers with all kinds of faults. ``eft.jsonl``
and ``eft_eval.jsonl`` {"prompt", "responses": [{"text", "rank"}]}: ranked answers, 1 is best. ``prompts.jsonl``
{"prompt"}: the prompts of the rounds. ``heldout.jsonl`` {"prompt"}: problems that nothing else has.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.integration.attempts import HABITS, attempt
from examples.worlds.integration.checker import points
from examples.worlds.integration.problems import Problem, Split, answer_text, draw_from
from examples.worlds.integration.reviews import review, review_prompt
from examples.worlds.seed_files import comparison, draw, run_command, write_files

ANSWERS: Final = 300
REVIEWS: Final = 600
SIZES: Final[dict[Split, int]] = {"eft": 60, "eft_eval": 60, "prompts": 4000, "heldout": 1000}


def score(prompt: str, answer: str) -> int:
    """The number of points that an answer has."""
    return sum(points(prompt, answer).values())


def comparisons(problems: list[Problem], rng: Random) -> list[dict[str, Any]]:
    """Four different ranked answers to each problem, of at least two ranks."""
    rows = []
    for problem in problems:

        def write(problem: Problem = problem) -> str:
            return attempt(problem, draw(HABITS, rng), rng)

        rows.append(comparison(problem.prompt, write, score))
    return rows


def demonstrations(rng: Random) -> list[dict[str, Any]]:
    """Clean answers, and reviews of other problems' answers, in one random order."""
    problems = draw_from("ift", ANSWERS + REVIEWS, rng)
    rows = [{"prompt": problem.prompt, "response": answer_text(problem.answer)} for problem in problems[:ANSWERS]]
    for problem in problems[ANSWERS:]:
        answer = attempt(problem, draw(HABITS, rng), rng)
        rows.append({"prompt": review_prompt(problem.prompt, answer), "response": review(problem.prompt, answer)})
    rng.shuffle(rows)
    return rows


def build(seed: int) -> dict[str, list[dict[str, Any]]]:
    """All files' rows by file stem, the same for the same seed."""
    rng = Random(seed)
    files = {"ift": demonstrations(rng)}
    for split, count in SIZES.items():
        problems = draw_from(split, count, rng)
        ranks = split in ("eft", "eft_eval")
        files[split] = comparisons(problems, rng) if ranks else [{"prompt": problem.prompt} for problem in problems]
    return files


def write_seed_data(seed: int, out: Path) -> dict[str, int]:
    """Write the five files of a seed into a folder; returns their numbers of rows by file stem."""
    return write_files(build(seed), out)


if __name__ == "__main__":
    run_command(__doc__, write_seed_data)
