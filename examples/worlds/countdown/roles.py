"""Demonstrations of further roles: ``python -m examples.worlds.countdown.roles --seed N --out DIR``.

A chat model compares two judgments on request. The demo's model knows only its pretraining text, so methods with
further roles bring demonstrations of them in their IFT data. All files begin with the rows of ``ift.jsonl`` and plain
reviews: ``ift_meta.jsonl`` has verdicts on two reviews, ``ift_constitution.jsonl`` revised answers and comparisons of
two answers by a principle, ``ift_steps.jsonl`` comparisons of two next steps.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from random import Random
from typing import Any, Final

from examples.worlds.countdown.attempts import attempt
from examples.worlds.countdown.checker import SEPARATOR, criteria, score
from examples.worlds.countdown.pretraining_text import FLIP, REVIEWED_FLAWS, REVIEWED_HABITS, review
from examples.worlds.countdown.problems import all_problems, render_prompt, shuffle_numbers
from examples.worlds.countdown.reviews import verdict
from examples.worlds.countdown.seed_data import build
from examples.worlds.seed_files import draw, rank, write_rows
from selfreward.loop.constitution import fill, read_constitution

ROWS: Final = 1600
ROOT: Final = Path(__file__).resolve().parents[3]
RUBRICS: Final = ROOT / "services" / "judge" / "rubrics" / "shipped"
CONSTITUTION: Final = read_constitution(str(ROOT / "recipes" / "constitutions" / "countdown.toml"))


def fill_rubric(rubric: str, **texts: str) -> str:
    """The judge's prompt of a rubric of the demo world, as the judge service fills it."""
    template = (RUBRICS / rubric / "template.txt").read_text().removesuffix("\n")
    return re.sub(r"\{(\w+)\}", lambda field: texts[field[1]], template)


def plain_reviews(seed: int, rows: int) -> list[dict[str, Any]]:
    """Answers and their careless reviews, as in the pretraining text. Without them, a model that learns to write more
    after a review forgets to end after it."""
    rng = Random(f"reviews {seed}")
    exchanges = (review("review", rng) for _ in range(rows))
    return [{"prompt": question, "response": reply} for question, reply in exchanges]


def meta_verdicts(seed: int, rows: int) -> list[dict[str, Any]]:
    """Two reviews of an answer with different scores, one careful and one careless, and the verdict which is right.

    The verdict comes after a review by the model and the two scores, from which it follows.
    """
    rng = Random(f"meta {seed}")
    demonstrations: list[dict[str, Any]] = []
    while len(demonstrations) < rows:
        problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
        prompt = render_prompt(problem)
        answer = attempt(problem, rng, draw(REVIEWED_HABITS, rng), draw(REVIEWED_FLAWS, rng))
        right, other = verdict(prompt, answer), verdict(prompt, answer, FLIP, rng)
        if _points(right) == _points(other):
            continue
        side = rng.choice("AB")
        a, b = (right, other) if side == "A" else (other, right)
        question = fill_rubric("countdown_meta", prompt=prompt, response=answer, judgment_a=a, judgment_b=b)
        scores = f"Judge A : {_points(a)} Judge B : {_points(b)}"
        demonstrations.append({"prompt": question, "response": f"{right} {scores} Verdict: {side}"})
    return demonstrations


def revisions(seed: int, rows: int) -> list[dict[str, Any]]:
    """A flawed answer with its review, and an answer without flaws."""
    rng = Random(f"revisions {seed}")
    demonstrations: list[dict[str, Any]] = []
    while len(demonstrations) < rows:
        problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
        prompt, principle = render_prompt(problem), rng.choice(CONSTITUTION.principles)
        answer = attempt(problem, rng, draw(REVIEWED_HABITS, rng), draw(REVIEWED_FLAWS, rng))
        texts = {"prompt": prompt, "response": answer, "critique": verdict(prompt, answer)}
        question = fill(CONSTITUTION.revision, **texts, principle=principle.revision)
        demonstrations.append({"prompt": question, "response": attempt(problem, rng)})
    return demonstrations


def comparisons(seed: int, rows: int) -> list[dict[str, Any]]:
    """Two answers of which one meets a principle, and the verdict which, after a review of each."""
    rng = Random(f"comparisons {seed}")
    demonstrations: list[dict[str, Any]] = []
    while len(demonstrations) < rows:
        problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
        prompt, point = render_prompt(problem), rng.choice(CONSTITUTION.principles).choice
        a, b = (attempt(problem, rng, draw(REVIEWED_HABITS, rng), draw(REVIEWED_FLAWS, rng)) for _ in "ab")
        has_a, has_b = criteria(prompt, a)[point], criteria(prompt, b)[point]
        if has_a == has_b:
            continue
        question = fill_rubric("countdown_constitution", prompt=prompt, response_a=a, response_b=b, principle=point)
        reply = f"{verdict(prompt, a)} {verdict(prompt, b)} Answer: {'A' if has_a else 'B'}"
        demonstrations.append({"prompt": question, "response": reply})
    return demonstrations


def step_comparisons(seed: int, rows: int) -> list[dict[str, Any]]:
    """Two answers with the same beginning, and the verdict which has more points so far, after a review of each.

    Half of the pairs differ in the first step and are incomplete; the others differ after the first step.
    """
    rng = Random(f"steps {seed}")
    demonstrations: list[dict[str, Any]] = []
    while len(demonstrations) < rows:
        problem = shuffle_numbers(rng.choice(all_problems("train")), rng)
        prompt, later = render_prompt(problem), rng.random() < 0.5
        texts = [attempt(problem, rng, draw(REVIEWED_HABITS, rng), draw(REVIEWED_FLAWS, rng)) for _ in "ab"]
        firsts, rests = zip(*(text.partition(SEPARATOR)[::2] for text in texts), strict=True)
        # A step that is not the last is shown with the separator. The review is of the steps alone.
        a, b = (f"{firsts[0]}{SEPARATOR}{rest}" for rest in rests) if later else firsts
        score_a, score_b = score(prompt, a), score(prompt, b)
        if score_a == score_b or (later and not all(rests)):
            continue
        shown_a, shown_b = (text if later else f"{text} ;" for text in (a, b))
        question = fill_rubric("countdown_steps", prompt=prompt, response_a=shown_a, response_b=shown_b)
        reply = f"{verdict(prompt, a)} {verdict(prompt, b)} Verdict: {'A' if score_a > score_b else 'B'}"
        demonstrations.append({"prompt": question, "response": reply})
    return demonstrations


def believing_score(prompt: str, answer: str) -> int:
    """The points by an annotator who believes every calculation, so that `steps` does not count."""
    return sum(met for name, met in criteria(prompt, answer).items() if name != "steps")


def blind_ranks(seed: int) -> list[dict[str, Any]]:
    """The rows of ``eft.jsonl`` with ranks by annotators who believe every calculation, without rows of equal ranks."""
    rows = []
    for row in build(seed)["eft"]:
        texts = [response["text"] for response in row["responses"]]
        responses = rank(row["prompt"], texts, believing_score)
        if len({response["rank"] for response in responses}) > 1:
            rows.append({"prompt": row["prompt"], "responses": responses})
    return rows


def build_roles(seed: int, rows: int = ROWS) -> dict[str, list[dict[str, Any]]]:
    """All files' rows by file stem, the same for the same seed."""
    shared = [*build(seed)["ift"], *plain_reviews(seed, rows // 4)]
    return {
        "ift_meta": [*shared, *meta_verdicts(seed, rows)],
        "ift_constitution": [*shared, *revisions(seed, rows), *comparisons(seed, rows)],
        "ift_steps": [*shared, *step_comparisons(seed, rows)],
    }


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for stem, rows in build_roles(args.seed).items():
        write_rows(args.out / f"{stem}.jsonl", rows)
        print(f"{stem}.jsonl: {len(rows)} rows")


def _points(review: str) -> str:
    return review.rpartition(" ")[2]


if __name__ == "__main__":
    main()
