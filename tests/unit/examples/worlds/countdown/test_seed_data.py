"""The seed data: shapes, sizes, disjoint problems, and the ranks an exact annotator gives."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from examples.worlds.countdown.checker import Problem, parse_prompt, score, solved
from examples.worlds.countdown.problems import split_of
from examples.worlds.countdown.reviews import review_prompt, verdict
from examples.worlds.countdown.seed_data import build
from examples.worlds.countdown.tokenizer import build_tokenizer
from examples.worlds.seed_files import rank
from selfreward.loop.load import load_recipe
from tests.support.places import RECIPES


@cache
def seed_rows() -> dict[str, list[dict[str, Any]]]:
    return build(7)


def problems_of(stem: str) -> set[Problem]:
    stated = (parse_prompt(row["prompt"]) for row in seed_rows()[stem])
    return {Problem(tuple(sorted(p.numbers)), p.target) for p in stated}


def test_ranks_follow_the_score_and_equals_share_a_rank() -> None:
    answers = ["7 * 3 = 21", "7 * 3 = 21 ; 21 + 12 = 33", "12 * 3 = 36", "12 - 7 = 5 ; 5 * 3 = 15"]
    rows = rank("Use 7 3 12 to make 33 .", answers, score)
    assert rows == [{"text": a, "rank": r} for a, r in zip(answers, [3, 1, 3, 2], strict=True)]


@pytest.mark.parametrize(
    ("first", "second"), [("eft", "prompts"), ("ift", "eft"), ("ift", "prompts"), ("solutions", "prompts")]
)
def test_files_share_no_problem(first: str, second: str) -> None:
    assert not problems_of(first) & problems_of(second)


def test_evaluation_problems_come_from_splits_that_training_never_sees() -> None:
    assert {split_of(p) for stem in ("ift", "eft", "prompts", "solutions") for p in problems_of(stem)} == {"train"}
    assert {split_of(p) for p in problems_of("heldout")} == {"heldout"}
    assert {split_of(p) for p in problems_of("eft_eval")} == {"eft_eval"}
    assert len(problems_of("heldout")) >= 1000


def test_every_comparison_has_different_answers_of_at_least_two_ranks() -> None:
    for row in seed_rows()["eft"] + seed_rows()["eft_eval"]:
        texts = [r["text"] for r in row["responses"]]
        assert 3 <= len(texts) == len(set(texts))
        assert len({r["rank"] for r in row["responses"]}) > 1
        scores = [(r["rank"], score(row["prompt"], r["text"])) for r in row["responses"]]
        assert all((a < b) == (x > y) for a, x in scores for b, y in scores)


def test_demonstrations_are_few_and_right() -> None:
    rows = seed_rows()["ift"]
    assert len(rows) * 10 <= len(seed_rows()["prompts"])
    assert all(solved(row["prompt"], row["response"]) for row in rows)


PROMPT = "Use 7 3 12 5 to make 38 ."
REVIEWS = [
    (
        "7 * 3 = 21 ; 21 + 12 = 33 ; 33 + 5 = 38",
        "format yes numbers 12 5 21 ; 5 33 ; 38 yes all yes steps 21 33 38 yes result 38 target 38 yes Score: 5",
    ),
    (
        "12 - 7 = 5 ; 5 * 5 = 30 ; 30 + 3 = 38",
        "format yes numbers 3 5 5 ; 3 30 ; 38 yes all yes steps 5 25 33 no result 38 target 38 yes Score: 4",
    ),
    (
        "12 - 7 = 5 ; 12 + 5 = 17",
        "format yes numbers 3 5 5 ; no no all no steps 5 17 yes result 17 target 38 no Score: 2",
    ),
    ("9 + 29 = 38", "format yes numbers no no all no steps 38 yes result 38 target 38 yes Score: 3"),
    ("hello", "format no numbers none no all no steps none no result none target 38 no Score: 0"),
]


@pytest.mark.parametrize(("answer", "review"), REVIEWS)
def test_a_review_shows_what_each_step_leaves_and_its_score_sums_up(answer: str, review: str) -> None:
    assert verdict(PROMPT, answer) == review
    assert PROMPT in review_prompt(PROMPT, answer)
    assert review_prompt(PROMPT, answer).endswith(answer)


def test_a_verdict_fits_the_judges_token_budget() -> None:
    longest = verdict(PROMPT, "7 + 3 = 10 ; 12 + 10 = 22 ; 22 + 5 = 27 ; 22 + 5 = 27 ; 22 + 5 = 27")
    assert (
        len(build_tokenizer().encode(longest)) + 1
        <= load_recipe(RECIPES / "countdown.toml", environment={}).judging.max_tokens
    )


def test_a_careless_verdict_errs_in_checks_but_its_score_still_adds_up() -> None:
    rng = Random(0)
    verdicts = [verdict("Use 7 3 12 to make 33 .", "7 * 3 = 21", 0.25, rng) for _ in range(200)]
    assert all(v.count("yes") == int(v[-1]) for v in verdicts)
    wrong = sum(v.startswith("format no") for v in verdicts) / len(verdicts)
    assert 0.15 < wrong < 0.35
    with pytest.raises(ValueError, match="random generator"):
        verdict("Use 7 3 12 to make 33 .", "7 * 3 = 21", 0.25)


def test_a_response_that_holds_a_placeholder_is_not_filled_again() -> None:
    assert review_prompt("{response}", "x").count("x") == review_prompt("", "").count("x") + 1


def test_the_command_writes_in_another_process_what_this_one_builds_of_the_same_seed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.worlds.countdown.seed_data", "--seed", "7", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [
        "eft.jsonl", "eft_eval.jsonl", "heldout.jsonl", "ift.jsonl", "prompts.jsonl", "solutions.jsonl",
    ]  # fmt: skip
    for file in files:
        assert file.read_text() == "".join(json.dumps(row) + "\n" for row in seed_rows()[file.stem])
    assert set(seed_rows()["ift"][0]) == {"prompt", "response"}
