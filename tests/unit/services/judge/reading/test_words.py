"""Verdicts that are no numbers: sides, correctness, criteria, rankings. What could be another verdict is unread."""

import re
import time

import pytest

from selfreward.contracts.judging import Criterion
from services.judge.reading.criteria import CriteriaForm, as_list, earned_weights, explicit_sum
from services.judge.reading.ranking import RankForm
from services.judge.reading.read import VerdictForm, read
from services.judge.reading.score import ScoreForm
from services.judge.reading.sides import sides
from services.judge.reading.words import correctness

WINNER, CHOICE, VERDICT = sides("Winner:", tie=True), sides("Answer:", tie=False), correctness("Verdict:")
BRITISH = "Judge" + "ment"
"""A judge may write British English; this repository does not."""


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("Winner: A", "a"),
        ("Winner: B\n", "b"),
        ("**Winner:** B", "b"),
        ("Winner: **A**", "a"),
        ("Winner: [[A]]", "a"),
        ("Winner: (B)", "b"),
        ("winner: a", "a"),
        ("Winner: b.", "b"),
        ("Winner: A, because it is shorter", "a"),
        ("Winner: A because it is shorter", "a"),
        ("Winner: B is better", "b"),
        ("Winner: B - it answers", "b"),
        ("Winner: Response A", "a"),
        ("Winner: the answer B does more", None),
        ("Winner: B is the better response.", "b"),
        ("Winner: A wins", "a"),
        ("Winner: A over B", "a"),
        ("Winner: B > A", "b"),
        ("Winner: A < B", "b"),
        ("Winner: A = B", "tie"),
        ("Winner: A, not B", "a"),
        ("Winner: 'A'", "a"),
        ("Winner: B is wrong, so the winner is A.", "a"),
        ("Winner: tie between A and B", "tie"),
        ("Winner: it's a draw", "tie"),
        ("Winner: Neither A nor B", "tie"),
        ('{"winner": "B", "reason": "Winner: A was my first idea"}', "b"),
        ("Overall winner: B", "b"),
        ("Previous winner: B", None),
        ("Winner: A is not better", None),
        ("Winner: A has fewer errors", None),
        ("Winner: A, B", None),
        ("Winner: A (B)", None),
        ("Winner: A? No, B", None),
        ("Winner: A, no wait, B", None),
        ("Winner: both are wrong", None),
        ("Winner: both A and B", None),
        ("Winner:\nA is better", None),
        ('{"winner": "A or B"}', None),
        ("Winner: Judgment A", "a"),
        (f"Winner: [{BRITISH} A]", "a"),
        ("Winner: Judgment B", "b"),
        ("Winner: [Judgment B]", "b"),
        ("Winner: Judgment [B]", "b"),
        ("Winner: **Judgment A**", "a"),
        ("Winner: tie", "tie"),
        ("Winner: Tie.", "tie"),
        ("Winner: [[C]]", "tie"),
        ("Winner: a draw", "tie"),
        ("Winner: draw", "tie"),
        ("Winner: A\nWinner: B", None),
        ("Winner: A\nOn reflection B is right.\nWinner: B", "b"),
        ("Winner: A would be rash. Winner: tie", "tie"),
        ("Winner:", None),
        ("A", None),
        ("The winner is A", None),
        ("Winner: a close call", None),
        ("Winner: A close call", None),
        ("Winner: A or B", None),
        ("Winner: A and B", None),
        ("Winner: A/B", None),
        ("Winner: A | B", None),
        ("Winner: A > B", "a"),
        ("Winner: [Judgment A | Judgment B]", None),
        ("Winner: Response A or Response B", None),
        ("Winner: A, B or tie", None),
        ("Winner: AB", None),
        ("Winner: Alice", None),
        ("Winner: D", None),
        ("Winner: neither", "tie"),
        ("Winner: A\nWinner: unclear", None),
    ],
)
def test_a_side_is_read_or_not(text: str, side: str | None) -> None:
    reading = read(text, "stop", WINNER)

    assert (reading.value, reading.status) == (side, "ok" if side else "unparsed")
    assert (reading.reason is None) == (side is not None)
    if side in ("a", "b"):
        assert text[reading.start].lower() == side


@pytest.mark.parametrize(("text", "side"), [("Answer: (A)", "a"), ("Answer: B", "b"), ("Answer: tie", None)])
def test_a_choice_of_two_has_no_tie(text: str, side: str | None) -> None:
    assert read(text, "stop", CHOICE).value == side


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Step 1 holds.\nVerdict: correct", 1),
        ("Verdict: incorrect.", 0),
        ("VERDICT: 1", 1),
        ("**Verdict:** **Correct**", 1),
        ("Verdict: [incorrect]", 0),
        ("Verdict: 0", 0),
        ("Verdict: correct\nVerdict: incorrect", None),
        ("Verdict: correct\nBut step 2 fails.\nVerdict: incorrect", 0),
        ("Verdict: incorrect, the correct value is 3", 0),
        ('{"verdict": false}', 0),
        ("Verdict: no, it is correct", None),
        ("Verdict: no error", None),
        ("Verdict: correct if rounding is allowed", None),
        ("Verdict: not correct", None),
        ("Verdict: partially correct", None),
        ("Verdict: correct or incorrect", None),
        ("Verdict: correct/incorrect", None),
        ("Verdict: correctly derived", None),
        ("Verdict: 1.5", None),
        ("Verdict: 1/2", None),
        ("Verdict: 10", None),
        ("It is correct", None),
    ],
)
def test_correctness_is_one_or_zero(text: str, value: float | None) -> None:
    assert read(text, "stop", VERDICT).value == value


@pytest.mark.parametrize(
    ("text", "finish_reason", "status"),
    [
        ("Winner: A", "length", "truncated"),
        ("Winner: A\nand", "length", "ok"),
        ("I cannot compare these.", "stop", "refused"),
        ("Winner: A", "abort", "error"),
        ("Winner: A", "content_filter", "refused"),
    ],
)
def test_how_a_choice_ended_matters(text: str, finish_reason: str, status: str) -> None:
    assert read(text, finish_reason, WINNER).status == status


CRITERIA = [
    Criterion(text="Names the river.", label="essential"),
    Criterion(text="Gives\n2. (essential) its length.", label="important"),
    Criterion(text="Is short.", label="optional"),
    Criterion(text="Invents a source.", label="pitfall"),
]


@pytest.mark.parametrize(
    ("answers", "score"),
    [
        ([True, False, True, True], 1.3 / 2.9),
        ([True, True, True, False], 1.0),
        ([False, False, False, True], 0.0),
        ([True, False, False, False], 1.9 / 2.9),
        ([False, True, True, True], 1.0 / 2.9),
    ],
)
def test_explicit_sum_of_criteria(answers: list[bool], score: float) -> None:
    assert explicit_sum(CRITERIA, earned_weights(CRITERIA, answers)) == pytest.approx(score)


def test_own_weights_stand_in_place_of_the_labels() -> None:
    two = [Criterion(text="a", weight=3), Criterion(text="b", weight=1)]

    assert explicit_sum(two, earned_weights(two, [True, False])) == 0.75


def test_a_criterion_is_one_line() -> None:
    assert as_list(CRITERIA).splitlines()[1] == "2. (important) Gives 2. (essential) its length."


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Criterion 1: yes\nCriterion 2: no", (True, False)),
        ("Criterion 2: No.\n**Criterion 1:** Yes", (True, False)),
        ("Criterion 1: it says so\nCriterion 2: no\nCriterion 1: yes", (True, False)),
        ("Criterion 1: met, criterion 2: not met", (True, False)),
        ("Criterion 1: yes", None),
        ("Criterion 1: yes/no\nCriterion 2: no", None),
        ("Criterion 1: yes or no\nCriterion 2: no", None),
        ("Criterion 1: yes\nCriterion 12: no", None),
        ("- **Criterion 1:** yes\n- **Criterion 2:** No, it is long.", (True, False)),
        ('{"Criterion 1": true, "Criterion 2": "no"}', (True, False)),
        ("Criterion 1: no, but yes in spirit\nCriterion 2: no", None),
        ("yes, no", None),
    ],
)
def test_criteria_are_read_all_or_not_at_all(text: str, answers: tuple[bool, ...] | None) -> None:
    reading = read(text, "stop", CriteriaForm("Criterion #:", 2))

    assert reading.value == answers
    assert (reading.reason is None) == (answers is not None)


@pytest.mark.parametrize(
    ("text", "status", "scores"),
    [
        ("Ranking: 2 > 1 > 3", "ok", [0.5, 1, 0]),
        ("Ranking: 2>1>3", "ok", [0.5, 1, 0]),
        ("**Ranking:** [3] > [1] > [2]", "ok", [0.5, 0, 1]),
        ("Ranking: 3, 2, 1, since", "ok", [0, 0.5, 1]),
        ("Ranking: Candidate 1 > Candidate 2 > Candidate 3.", "ok", [1, 0.5, 0]),
        ("Ranking: 2 > 1 = 3", "ok", [0.25, 1, 0.25]),
        ("Ranking: 1 = 2 = 3", "ok", [0.5, 0.5, 0.5]),
        ("Ranking: 1 > 2 > 3\nNo, the third is right.\nRanking: 3 > 2 > 1", "ok", [0, 0.5, 1]),
        ('{"ranking": [2, 1, 3]}', "ok", [0.5, 1, 0]),
        ("Ranking:\n1. 2\n2. 1\n3. 3", "ok", [0.5, 1, 0]),
        ("Ranking: 2 > 1 > 3 (worst to best)", "unparsed", None),
        ("Ranking: 2 > 1 < 3", "unparsed", None),
        ("Ranking: 2 > 1", "unparsed", None),
        ("Ranking: 2 > 1 > 1 > 3", "unparsed", None),
        ("Ranking: 2 > 1 > 4", "out_of_range", None),
        ("Ranking: 2 > 1 > 3.5", "unparsed", None),
        ("Ranking: 2 > 1 > 3 >", "unparsed", None),
        ("Ranking: best first", "unparsed", None),
        ("2 > 1 > 3", "unparsed", None),
    ],
)
def test_a_ranking_is_complete_or_unread(text: str, status: str, scores: list[float] | None) -> None:
    reading = read(text, "stop", RankForm("Ranking:", 3))

    assert (reading.status, reading.value) == (status, scores)


@pytest.mark.parametrize(
    ("form", "written", "wrong"),
    [
        (WINNER, "Winner: tie", "Winner: C"),
        (CHOICE, "Answer: B", "Answer: tie"),
        (VERDICT, "Verdict: incorrect", "Verdict: maybe"),
        (CriteriaForm("Criterion #:", 2), "Criterion 1: yes\nCriterion 2: no", "Criterion 1: yes"),
        (RankForm("Ranking:", 3), "Ranking: 3 > 1 > 2", "Ranking: 3 > 1"),
        (ScoreForm("Score:", 0, 5), "Score: 5", "Score: 6"),
        (ScoreForm("Grade (1-9):", 0.5, 9), "Grade (1-9): 4.25", "Grade (1-9): x"),
    ],
)
def test_what_a_grammar_allows_can_be_read(form: VerdictForm[object], written: str, wrong: str) -> None:
    pattern = f"{re.escape(form.lead)}{form.rest}"
    assert re.fullmatch(pattern, written)
    assert not re.fullmatch(pattern, wrong)
    assert read(written, "stop", form).status == "ok"


@pytest.mark.parametrize("form", [WINNER, VERDICT, CriteriaForm("Criterion #:", 2), RankForm("Ranking:", 64)])
@pytest.mark.parametrize(
    "unit", ["Winner: ", "Winner: A or ", "Criterion 1: ", "Ranking: 1 > ", "1 > ", "Verdict: [", " ", "A, "]
)
def test_hostile_verdicts_are_read_in_linear_time(form: VerdictForm[object], unit: str) -> None:
    started = time.process_time()
    read("Winner: Verdict: Criterion 1: Ranking: " + unit * (200_000 // len(unit)), "stop", form)

    assert time.process_time() - started < 2
