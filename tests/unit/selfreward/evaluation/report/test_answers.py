"""Answer figures and head-to-head comparisons."""

import pytest

from selfreward.contracts.rollouts import Response
from selfreward.evaluation.report import answers
from selfreward.evaluation.report.answers import Answer, by_score, contest, verdict
from tests.support.factories import rollout


def test_lengths_are_means_over_answers() -> None:
    texts = [["ab", "abcd"], ["abcdef"]]
    rollouts = [rollout(row, responses=[Response(text=text, tokens=2 * len(text)) for text in row]) for row in texts]
    assert answers.characters(rollouts).value == pytest.approx(4.0)
    assert answers.tokens(rollouts).value == pytest.approx(8.0)


def test_votes_that_are_no_number_are_counted() -> None:
    rollouts = [rollout({"a": [5, None, 4], "b": [None, None, None]}), rollout({"c": [3, 3, 3]})]
    assert answers.parse_failures(rollouts).value == pytest.approx(4 / 9)
    assert answers.unscored(rollouts).value == pytest.approx(1 / 3)
    assert answers.own_scores(rollouts).value == pytest.approx((4.5 + 3) / 2)
    assert answers.share_at_top(rollouts, 5).value == pytest.approx(1 / 5)


def test_best_of_n_is_a_share_of_prompts() -> None:
    assert answers.any_of([[True, False], [False, False], []]).value == 0.5


def test_histogram_and_entropy() -> None:
    assert answers.histogram([0, 4.5, 4.4, 5, 2.5]) == [1, 0, 0, 1, 1, 2]
    assert answers.entropy([0, 0, 7, 0, 0, 0]) == 0.0
    assert answers.entropy([2, 2, 2, 2, 2, 2]) == pytest.approx(2.585, abs=1e-3)


def test_a_comparator_that_prefers_a_position_only_ties() -> None:
    first, second = Answer("x"), Answer("y")
    assert verdict(lambda _p, _a, _b: 1, "p", first, second) == 0
    assert verdict(lambda _p, _a, _b: -1, "p", first, second) == 0


def test_a_verdict_needs_both_orders() -> None:
    def prefers_long_when_first(_: str, a: Answer, b: Answer) -> int:
        return 1 if len(a.text) > len(b.text) else 0

    assert verdict(prefers_long_when_first, "p", Answer("long"), Answer("s")) == 0
    assert verdict(by_score, "p", Answer("x", 1), Answer("y", 4)) == -1
    assert verdict(by_score, "p", Answer("x", 4), Answer("y", 1)) == 1
    assert verdict(by_score, "p", Answer("x", None), Answer("y", 1)) == 0


def test_contest_counts_per_prompt() -> None:
    a = [[Answer("", 5), Answer("", 1)], [Answer("", 2)]]
    b = [[Answer("", 0), Answer("", 1)], [Answer("", 3), Answer("", 0)]]
    result = contest(by_score, ["p", "q"], a, b)
    shares = [figure.value for figure in result]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert result.win.numerator.tolist() == [1, 0]
