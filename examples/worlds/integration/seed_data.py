"""Seed data: ``python -m examples.worlds.integration.seed_data --seed N --out DIR``.

``ift.jsonl`` {"prompt", "response"}: few clean answers, and reviews of answers with all kinds of faults. ``eft.jsonl``
and ``eft_eval.jsonl`` {"prompt", "responses": [{"text", "rank"}]}: ranked answers, 1 is best. ``prompts.jsonl``
{"prompt"}: the prompts of the rounds. ``heldout.jsonl`` {"prompt"}: problems that nothing else has.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.integration.attempts import HABITS, attempt, pick
from examples.worlds.integration.checker import points
from examples.worlds.integration.problems import Problem, Split, answer_text, draw_from
from examples.worlds.integration.reviews import review, review_prompt

ANSWERS: Final = 300
REVIEWS: Final = 600
SIZES: Final[dict[Split, int]] = {"eft": 60, "eft_eval": 60, "prompts": 4000, "heldout": 1000}
RESPONSES: Final = 4


def ranked(prompt: str, answers: list[str]) -> list[dict[str, Any]]:
    """The answers with ranks by their points; equal points share a rank."""
    scores = [sum(points(prompt, answer).values()) for answer in answers]
    order = sorted(set(scores), reverse=True)
    return [{"text": answer, "rank": order.index(score) + 1} for answer, score in zip(answers, scores, strict=True)]


def comparisons(problems: list[Problem], rng: Random) -> list[dict[str, Any]]:
    """Four different ranked answers to each problem, of at least two ranks."""
    rows = []
    for problem in problems:
        responses: list[dict[str, Any]] = []
        while len({response["rank"] for response in responses}) < 2:
            answers: list[str] = []
            while len(answers) < RESPONSES:
                answer = attempt(problem, pick(HABITS, rng), rng)
                if answer not in answers:
                    answers.append(answer)
            responses = ranked(problem.prompt, answers)
        rows.append({"prompt": problem.prompt, "responses": responses})
    return rows


def demonstrations(rng: Random) -> list[dict[str, Any]]:
    """Clean answers, and reviews of other problems' answers, in one random order."""
    problems = draw_from("ift", ANSWERS + REVIEWS, rng)
    rows = [{"prompt": problem.prompt, "response": answer_text(problem.answer)} for problem in problems[:ANSWERS]]
    for problem in problems[ANSWERS:]:
        answer = attempt(problem, pick(HABITS, rng), rng)
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
    out.mkdir(parents=True, exist_ok=True)
    built = build(seed)
    for stem, rows in built.items():
        (out / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {stem: len(rows) for stem, rows in built.items()}


def main() -> None:
    """Write the five files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for stem, count in write_seed_data(arguments.seed, arguments.out).items():
        print(f"{stem}.jsonl: {count} rows")


if __name__ == "__main__":
    main()
