"""Five-way verdicts: how they are read, carried over the wire and scored."""

from typing import Any

import pytest
from starlette.responses import Response

from selfreward.contracts.comparisons import PairVerdict, PairVote
from selfreward.evaluation.models.arena import arena_ratio, arena_score, game
from services.judge.reading.sides import FiveWayForm
from tests.support.judge_engine import Engine, compared, completion, content, only, pairs

FORM = FiveWayForm("Verdict:")


@pytest.mark.parametrize(
    ("text", "winner", "clearly"),
    [
        ("Mine: 4.\nVerdict: [[A>>B]]", "a", True),
        ("[[A>B]]", "a", False),
        ("My final verdict is tie: [[A=B]]", "tie", False),
        ("[[B>A]]", "b", False),
        ("[[B>>A]].", "b", True),
        ("At first [[A>>B]], but no: [[B>A]]", "b", False),
        ("[[ b >> a ]]", "b", True),
        ("[[A<<B]]", "b", True),
        ("[[B<A]]", "a", False),
        ("[[B=A]]", "tie", False),
        ("[A>B]", "a", False),
    ],
)
def test_the_last_verdict_in_double_brackets_counts(text: str, winner: str, clearly: bool) -> None:
    extraction = FORM.extract(text)
    assert (extraction.status, extraction.value) == ("ok", (winner, clearly))


@pytest.mark.parametrize(
    "text", ["", "A>>B", "[[A>B]] or [[A=B]]", "[[A]]", "[[A>>>B]]", "[[A>A]]", "[[C>B]]", "Verdict: A"]
)
def test_anything_else_is_unread_never_guessed(text: str) -> None:
    assert FORM.extract(text).status == "unparsed"


def test_a_grammar_writes_exactly_the_five() -> None:
    assert FORM.lead + FORM.rest == r"Verdict: ?(\[\[A>>B\]\]|\[\[A>B\]\]|\[\[A=B\]\]|\[\[B>A\]\]|\[\[B>>A\]\])"


def _side(sent: dict[str, Any], word: str) -> str:
    """Under which letter `word` is shown."""
    text = content(sent)
    return "A" if word in text.split("<response_a>")[1].split("</response_a>")[0] else "B"


def _clearly_good(sent: dict[str, Any]) -> Response:
    side = _side(sent, "GOOD")
    return completion(*[f"Verdict: [[{side}>>{'B' if side == 'A' else 'A'}]]"] * sent["n"])


def test_both_games_name_the_items_sides_whatever_place_they_were_shown_in() -> None:
    verdict = only(compared(Engine(_clearly_good), pairs(("BAD", "GOOD"), rubric="arena")))
    assert (verdict.winner, verdict.position_consistent) == ("b", True)
    assert [(vote.order, vote.winner, vote.clearly) for vote in verdict.votes] == [("ab", "b", True), ("ba", "b", True)]
    assert [vote.p_a for vote in verdict.votes] == [None, None]


def test_other_comparisons_do_not_say_how_clear_it_is() -> None:
    verdict = only(compared(Engine(lambda _: completion("Winner: A")), pairs(("x", "y"))))
    assert [vote.clearly for vote in verdict.votes] == [None, None]


def test_a_judge_that_breaks_off_or_says_nothing_casts_no_vote() -> None:
    cut = only(compared(Engine(lambda _: completion("[[A>B]]", finish="length")), pairs(("x", "y"), rubric="arena")))
    assert (cut.winner, {vote.status for vote in cut.votes}) == ("unscored", {"truncated"})
    silent = only(compared(Engine(lambda _: completion("Both are fine.")), pairs(("x", "y"), rubric="arena")))
    assert {vote.status for vote in silent.votes} == {"unparsed"}


def _vote(winner: Any, clearly: bool = False) -> PairVote:
    status: Any = "ok" if winner else "unparsed"
    return PairVote(order="ab", winner=winner, clearly=clearly if winner else None, status=status)


def _verdict(*votes: PairVote) -> PairVerdict:
    return PairVerdict(id="0", index=0, winner="tie", status="ok", votes=list(votes), valid_votes=len(votes))


def test_a_clear_win_counts_three_times_and_a_tie_half() -> None:
    assert game(_vote("a", clearly=True)) == (1, 3)
    assert game(_vote("a")) == (1, 1)
    assert game(_vote("tie")) == (0.5, 1)
    assert game(_vote("b", clearly=True)) == (0, 3)
    with pytest.raises(ValueError, match="decides no game"):
        game(_vote(None))


def test_the_score_is_the_mean_over_all_games() -> None:
    verdicts = [
        _verdict(_vote("a", clearly=True), _vote("a")),
        _verdict(_vote("tie"), _vote("b")),
        _verdict(_vote("b", clearly=True), _vote(None)),
        None,
    ]
    # Won 3 + 1, 0.5 + 0, 0, 0.5 + 0.5; played for 4, 2, 3 and 2.
    found = arena_ratio(verdicts, [0, 1, 2, 3])
    assert list(found.numerator) == [4, 0.5, 0, 1]
    assert list(found.denominator) == [4, 2, 3, 2]
    assert found.value == pytest.approx(5.5 / 11)


def test_the_interval_is_the_5_to_95_of_100_resamples_of_prompts_with_both_games() -> None:
    decisive = [_verdict(_vote("a"), _vote("a")), _verdict(_vote("b"), _vote("b"))] * 50
    found = arena_score(decisive, range(100))
    assert found.value == 0.5
    assert found.low is not None
    assert found.high is not None
    # 100 coin flips by prompt have a standard deviation of 5 points: 90 % lie within 8.2. As 200 games it were 5.8.
    assert found.high - found.low == pytest.approx(0.164, abs=0.04)
    sure = arena_score([_verdict(_vote("a"), _vote("a"))] * 10, range(10))
    assert sure[:3] == (1, 1, 1)
