"""EFT data: which judgments agree with the human ranking, down-sampling, and judge pairs."""

import random
from collections import Counter

import pytest

from selfreward.contracts.base import Message
from selfreward.contracts.judging import Judgment, Vote
from selfreward.contracts.rollouts import Response, Rollout
from selfreward.loop.eft import Verdict, agrees, cap_most_common, select


def judged(name: str, rows: list[list[float | None]]) -> Rollout:
    """A prompt whose answer `i` got the votes `rows[i]`; a vote's text is `name.i.j`."""
    judgments = []
    for index, scores in enumerate(rows):
        votes = [
            Vote(score=score, status="ok" if score is not None else "unparsed", text=f"{name}.{index}.{number}")
            for number, score in enumerate(scores)
        ]
        judgments.append(
            Judgment(id=str(index), index=index, score=None, status="unscored", votes=votes, valid_votes=0)
        )
    return Rollout(
        key=name,
        run="r",
        stage="M1",
        prompt_id=name,
        prompt=[Message(role="user", content="question")],
        policy_version="policy@1",
        responses=[Response(text=f"answer {index}") for index in range(len(rows))],
        judgments=judgments,
    )


@pytest.mark.parametrize(
    ("ranks", "scores", "expected"),
    [
        ([1, 2, 3], [5, 3, 1], True),
        ([3, 1, 2], [1, 5, 3], True),
        ([1, 2, 3], [5, 3, 3], False),
        ([1, 2, 3], [3, 5, 1], False),
        ([1, 1, 2], [5, 3, 1], True),
        ([1, 1, 2], [5, 1, 1], False),
        ([1, 2], [5, None], False),
        ([1, 1], [5, 3], False),
    ],
)
def test_a_round_agrees_when_every_two_answers_of_different_rank_are_in_strict_order(
    ranks: list[float], scores: list[float | None], expected: bool
) -> None:
    assert agrees(ranks, scores) is expected


def test_whole_rounds_are_accepted_and_contrasted_with_the_others() -> None:
    row = judged("p", [[5, 2, 4], [3, 4, None]])
    selection = select([row], {"p": [1, 2]})
    assert [(v.index, v.score, v.text) for v in selection.accepted] == [(0, 5.0, "p.0.0"), (1, 3.0, "p.1.0")]
    assert selection.counts == {"prompts": 1, "rounds": 3, "agreeing": 1, "unparsed": 1, "accepted": 2, "kept": 2}
    for contrast in selection.contrasts:
        assert contrast.chosen.index == contrast.rejected.index
        assert contrast.chosen.score != contrast.rejected.score
    assert sorted(contrast.chosen.text for contrast in selection.contrasts) == ["p.0.0", "p.1.0"]


def test_the_most_common_score_is_capped_at_a_multiple_of_the_second() -> None:
    verdicts = [Verdict("p", 0, 4.0, str(n)) for n in range(10)] + [Verdict("p", 0, 2.0, str(n)) for n in range(3)]
    verdicts += [Verdict("p", 0, 1.0, "x")]
    for ratio, expected in ((1.0, 3), (2.0, 6), (5.0, 10)):
        kept = cap_most_common(verdicts, ratio, random.Random(0))
        assert Counter(verdict.score for verdict in kept) == {4.0: expected, 2.0: 3, 1.0: 1}


def test_a_single_score_is_left_as_it_is() -> None:
    verdicts = [Verdict("p", 0, 4.0, str(n)) for n in range(5)]
    assert cap_most_common(verdicts, 1.0, random.Random(0)) == verdicts


def test_the_selection_depends_on_the_seed_and_not_on_the_order() -> None:
    rows = [judged(f"p{n}", [[5, 5, 5, 1], [4, 4, 4, 2]]) for n in range(20)]
    ranks = {row.prompt_id: [1.0, 2.0] for row in rows}
    selection = select(rows, ranks, max_rows=10, seed=3)
    assert len(selection.accepted) == 10
    assert select(list(reversed(rows)), ranks, max_rows=10, seed=3) == selection
    assert select(rows, ranks, max_rows=10, seed=4) != selection
