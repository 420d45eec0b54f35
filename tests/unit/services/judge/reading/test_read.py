"""What the judge writes, and what it must be read as."""

import time

import pytest

from services.judge.reading.read import read
from services.judge.reading.score import ScoreForm

FIVE = ScoreForm("Score:", 0, 5)

SCORES = [
    ("Score: 4", 4),
    ("Score: 4\n", 4),
    ("Score:4", 4),
    ("Score : 4", 4),
    ("score: 4", 4),
    ("SCORE: 4", 4),
    ("Score:\n4", 4),
    ("Score: 4.5", 4.5),
    ("Score: 4.75.", 4.75),
    ("Score: 4.", 4),
    ("Score: 0", 0),
    ("Score: 5", 5),
    ("Score: +3", 3),
    ("Score: 4/5", 4),
    ("Score: 4 / 5", 4),
    ("Score: 4.5/5.", 4.5),
    ("Score: 4/5.0", 4),
    ("Score: 4 out of 5", 4),
    ("Score: 4 points", 4),
    ("**Score:** 4", 4),
    ("**Score: 4**", 4),
    ("Score: **4**", 4),
    ("**Score**: 4", 4),
    ("__Score:__ 3", 3),
    ("_Score: 3_", 3),
    ("Score: **4**/5", 4),
    ("Score: **4/5**", 4),
    ("### Score: 2", 2),
    ("`Score: 2`", 2),
    ('"Score: 2"', 2),
    ('Score: "2"', 2),
    ("'Score: 2'", 2),
    ("Score: <3>", 3),
    ("Score: [3]", 3),
    ("Score: (3)", 3),
    ("Score: $3$", 3),
    ("Score：4", 4),
    ("Total Score: 4", 4),
    ("Score: 4 - a good answer", 4),
    ("Score: 4\n- 5 items were listed", 4),
    ("Score: 4, because all is right", 4),
    ("Score: 2\nOn reflection it deserves more.\nScore: 3", 3),
    ("It would be Score: 5 if it were shorter. Score: 1", 1),
    ("format yes numbers yes all yes steps no target yes Score: 4", 4),
    ("Score: four out of five", 4),
    ("Score: 4,5", 4.5),
    ("Score: 4½", 4.5),
    ("Score: Four and a half", 4.5),
    ("Score: ٤", 4),
    ("Score: 【4】", 4),
    ("Score: \\boxed{4/5}", 4),
    ("Score: $\\frac{4}{5}$", 4),
    ("Score: 3\nScore: 3\nScore: 3", 3),
    ("Score: 1 (relevant) + 1 (complete) + 0 = 2", 2),
    ("Score: 0.5 + 0.5 + 1 = 2", 2),
    ("Score: 3 (1 + 1 + 1 + 0 + 0)", 3),
    ("Score: 3 = 1 + 1 + 1.", 3),
    ("<answer>Score: 4</answer>", 4),
    ("Score: 4 (on a scale of 0 to 5)", 4),
    ("Score: 4 (max 5)", 4),
    ("Score: 3 because the two dates are wrong", 3),
    ("Score: [total: 4]", 4),
    ("| a | b |\n|---|---|\n| 1 | 2 |\n\nScore: 4", 4),
    ("Depth score: 1\nClarity score: 1\nScore: 2", 2),
    ("Score: 4\nConfidence score: 5", 4),
    ("Score: 3\nMax. score: 5", 3),
    ("My final score: 3", 3),
    ('{"confidence_score": 5, "score": 3}', 3),
    ('{"final_score": 3}', 3),
    ('{"evaluation": {"score": 3, "why": "x"}}', 3),
    ('{"score": 3, "reasoning": "At first Score: 2"}', 3),
    ('{"score": "4/5"}', 4),
    ("{'score': 2, 'max_score': 5}", 2),
    ('{"score": 2}\n\nOn reflection:\n{"score": 3}', 3),
    ("```\nScore: 4\n```", 4),
]

NOT_SCORES = [
    ("", "unparsed"),
    ("A fine answer.", "unparsed"),
    ("4", "unparsed"),
    ("Score:", "unparsed"),
    ("Score: .5", "unparsed"),
    ("Score: 1e-1", "unparsed"),
    ("Score: 4e1", "unparsed"),
    ("Score: 4\nScore: 1e-1", "unparsed"),
    ("Score: 0x5", "unparsed"),
    ("Score: 4-5", "unparsed"),
    ("Score: 4 – 5", "unparsed"),
    ("Score: 4 to 5", "unparsed"),
    ("Score: 3 or 4", "unparsed"),
    ("Score: 3.7.1", "unparsed"),
    ("Score: 4%", "unparsed"),
    ("Score: 5th", "unparsed"),
    ("Score: 4/5/2024", "unparsed"),
    ("Score: 4\nScore: n/a", "unparsed"),
    ("Score: 2\nScore: 4", "unparsed"),
    ("Score: 1 + 1 + 1 = 4", "unparsed"),
    ("Score: 1 + 1 + 1", "unparsed"),
    ("Score: 3 = 1 + 1", "unparsed"),
    ("Score: 3 (1 + 1)", "unparsed"),
    ("Score: 1+1+1+1+1+1 = 6", "out_of_range"),
    ("Score: 4 (on a scale of 1 to 5)", "out_of_range"),
    ("Score: 4 (5 if generous)", "unparsed"),
    ("Score: 4, maybe 5", "unparsed"),
    ("Score: 3. No, four.", "unparsed"),
    ("Score: 3? No, too low.", "unparsed"),
    ("Score: 3 (provisional)", "unparsed"),
    ("Score: 3 4/5", "unparsed"),
    ("Score: ④", "unparsed"),
    ("Score: 一般", "unparsed"),
    ("Score: ~~3~~ 4", "unparsed"),
    ("Score: 2*2", "unparsed"),
    ("Score: [4", "unparsed"),
    ("Score: 1,000", "unparsed"),
    ("Score:\n1. It is relevant.", "unparsed"),
    ("Max score: 5", "unparsed"),
    ("max. score: 5", "unparsed"),
    ("Confidence score: 5", "unparsed"),
    ("sub-score: 5", "unparsed"),
    ("If it were shorter, Score: 5", "unparsed"),
    ("I won't give a Score: 5", "unparsed"),
    ('The response says "Score: 5"', "unparsed"),
    ("> Score: 5", "unparsed"),
    ("| Score: 4 |", "unparsed"),
    ("- Relevance: Score: 1\n- Depth: Score: 1", "unparsed"),
    ("Relevance\nScore: 1\n\nDepth\nScore: 0", "unparsed"),
    ('{"scores": [{"score": 1}, {"score": 1}]}', "unparsed"),
    ('[{"score": 1}, {"score": 1}]', "unparsed"),
    ('{"confidence_score": 5}', "unparsed"),
    ('{"score": null}', "unparsed"),
    ('{"score": {"value": 3}}', "unparsed"),
    ('{"score": "4/10"}', "out_of_range"),
    ("Score: NaN", "unparsed"),
    ("Underscore: 4", "unparsed"),
    ("Reward: 4", "unparsed"),
    ("Score: 10", "out_of_range"),
    ("Score: 6", "out_of_range"),
    ("Score: 5.01", "out_of_range"),
    ("Score: -1", "out_of_range"),
    ("Score: 100", "out_of_range"),
    ("Score: 10/10", "out_of_range"),
    ("Score: 4/10", "out_of_range"),
    ("Score: 8 out of 10", "out_of_range"),
    ("I'm sorry, but I can't grade this.", "refused"),
    ("I cannot evaluate this response.", "refused"),
    ("I won’t rate that.", "refused"),
    ("As an AI language model, I do not rate people.", "refused"),
    ("Sorry, this is against my guidelines", "refused"),
]


@pytest.mark.parametrize(("text", "score"), SCORES)
def test_reads_the_score(text: str, score: float) -> None:
    reading = read(text, "stop", FIVE)

    assert (reading.status, reading.value, reading.text, reading.finish_reason) == ("ok", score, text, "stop")


@pytest.mark.parametrize(("text", "status"), NOT_SCORES)
def test_never_makes_up_a_score(text: str, status: str) -> None:
    reading = read(text, "stop", FIVE)

    assert (reading.status, reading.value, reading.text) == (status, None, text)


@pytest.mark.parametrize(
    ("text", "finish_reason", "status", "score"),
    [
        ("Score: 1", "length", "truncated", None),  # the next token might have been a 0 or .5
        ("The answer is", "length", "truncated", None),
        ("Score: 4 Use 3 4 5", "length", "truncated", None),
        ("Score: 4\nUse 3 4 5", "length", "ok", 4),
        ("Score: 10\nUse 3 4 5", "length", "out_of_range", None),
        ("Score: 4\nand more\nScore: 3", "length", "truncated", None),
        ("I'm sorry, but", "length", "truncated", None),
        ("Score: 4", "abort", "error", None),
        ("Score: 4", "error", "error", None),
        ("Score: 4", "content_filter", "refused", None),
        ("Score: 4", None, "ok", 4),
        ("Fine so far.\nScore: 4\nBut the dates", "length", "truncated", None),
        ("Fine.\nScore: 4\n", "length", "ok", 4),
        ("<think>Score: 4", "stop", "truncated", None),
        ("<|channel|>analysis<|message|>Score: 2\nHmm", "length", "truncated", None),
        ("<|channel|>analysis<|message|>Score: 2<|end|><|channel|>final<|message|>Score: 4", "stop", "ok", 4),
        ("[THINK]Score: 1[/THINK]Score: 4", "stop", "ok", 4),
        ("Score: 1 is too low</think>\nScore: 4", "stop", "ok", 4),
        ("Score: 1</think>\nGood.", "stop", "unparsed", None),
        ("<thinking>Score: 1</thinking>\nScore: 4\n<think>", "stop", "truncated", None),
    ],
)
def test_how_the_text_ended_matters(text: str, finish_reason: str | None, status: str, score: float | None) -> None:
    reading = read(text, finish_reason, FIVE)

    assert (reading.status, reading.value, reading.finish_reason) == (status, score, finish_reason)


def test_a_refusal_field_is_a_refusal_and_its_text_is_kept() -> None:
    reading = read("", "stop", FIVE, refusal="I will not grade that.")

    assert (reading.status, reading.text) == ("refused", "I will not grade that.")


def test_other_labels_and_scales() -> None:
    ten = ScoreForm("Final grade:", 1, 10)

    assert read("Score: 3\n**Final grade:** 10/10", "stop", ten).value == 10
    assert read("final  Grade : 7", "stop", ten).value == 7
    assert read("Final grade: 0", "stop", ten).status == "out_of_range"
    assert read("Score: 3", "stop", ten).status == "unparsed"


@pytest.mark.parametrize(
    "text",
    [
        "Score: " * 50_000,
        "Score:" + " " * 300_000,
        "Score: " + "9" * 300_000,
        "Score: 4" + " " * 300_000 + "x",
        "</think>" * 40_000,
        "<think>" * 40_000,
        '{"score": ' * 30_000,
        "\\boxed{" * 40_000,
        "some Score: 4 " * 20_000,
        "- Score: 4\n" * 20_000,
        f"{'x' * 200}.\nScore: 4\n" * 20,
        "“" * 300_000,
        "*" * 300_000,
    ],
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    read(text, "stop", FIVE)

    assert time.process_time() - started < 2
