"""Agreement beyond chance, both kinds of mistakes, and self-preference: by hand, and with scikit-learn's own kappa."""

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score
from starlette.responses import Response
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.contracts.judging import Judgment, Vote
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.judge.agreement import Acceptance, best_is_right, pair_kappa, self_preference
from selfreward.evaluation.judge.figures import scored_pairs
from selfreward.evaluation.judge.labelled import Labelled, load_labelled
from selfreward.files.rows import RowError
from tests.support.judge_engine import Engine, completion
from tests.support.listening import listening_judge

BOOTSTRAP = Bootstrap(50)


def judgment(score: float | None) -> Judgment:
    if score is None:
        return Judgment(id="0", index=0, status="unscored", votes=[], valid_votes=0)
    return Judgment(id="0", index=0, score=score, status="ok", votes=[Vote(score=score, status="ok")], valid_votes=1)


def judged(*rows: list[float | None]) -> list[list[Judgment]]:
    return [[judgment(score) for score in row] for row in rows]


def pair(*gold: float, ties: bool = True, models: tuple[str | None, ...] = ()) -> Labelled:
    return Labelled("g", "p", ["x"] * len(gold), list(gold), ties, models)


def test_kappa_is_scikit_learns_over_both_directions() -> None:
    rows = [pair(1, 0)] * 4 + [pair(0, 1), pair(1, 1)]
    pairs = scored_pairs(rows, judged([5, 1], [1, 5], [3, 3], [None, 2], [0, 4], [4, 4]), range(6))

    figure = pair_kappa(pairs, 6, BOOTSTRAP)

    gold = [1, 1, 1, 1, -1]
    judge = [1, -1, 0, 2, -1]
    mirrored = [2 if verdict == 2 else -verdict for verdict in judge]
    expected = cohen_kappa_score([*gold, *(-sign for sign in gold)], [*judge, *mirrored])
    assert figure.value == pytest.approx(expected)
    assert figure.n == 5


@pytest.mark.parametrize(("scores", "kappa"), [([5, 0], 1.0), ([0, 5], -1.0), ([3, 3], 0.0)])
def test_kappa_of_a_perfect_a_wrong_and_an_undecided_judge(scores: list[float | None], kappa: float) -> None:
    pairs = scored_pairs([pair(1, 0)] * 4, judged(*[scores] * 4), range(4))

    assert pair_kappa(pairs, 4, BOOTSTRAP).value == pytest.approx(kappa)


def test_a_judge_that_accepts_everything_has_one_rate_of_one_and_one_of_zero() -> None:
    rows = [pair(1, 0, 0), pair(1, 0)]
    accepting = Acceptance(rows, judged([5, 4, 3], [5, 5]), [0, 1], 2.5)

    assert {name: rate.value for name, rate in accepting.rates().items()} == {
        "true_positive_rate": 1.0,
        "true_negative_rate": 0.0,
    }
    assert accepting.kappa(BOOTSTRAP).value == pytest.approx(0)


def test_unscored_answers_and_the_middle_of_the_scale_are_not_accepted() -> None:
    rows = [pair(1, 0), pair(1, 0), pair(1, 0), pair(1, 1)]
    found = Acceptance(rows, judged([5, 0], [2.5, 2.5], [None, None], [0, 0]), [0, 1, 2, 3], 2.5)

    rates = found.rates()
    assert (rates["true_positive_rate"].value, rates["true_negative_rate"].value) == (1 / 3, 2 / 3)
    assert found.kappa(BOOTSTRAP).value == pytest.approx(cohen_kappa_score([0, 0, 0, 1, 1, 1], [0, 1, 2, 1, 1, 2]))


def test_the_best_answer_of_a_list_shares_its_place() -> None:
    rows = [pair(1, 0, 0, 0, ties=False)] * 4
    figure = best_is_right(rows, judged([5, 1, 1, 1], [5, 5, 1, 1], [1, 5, 1, 1], [None] * 4), range(4))

    assert figure.value == pytest.approx((1 + 0.5) / 4)


def test_self_preference_counts_pairs_that_are_equal_in_gold_and_half_the_judges_own() -> None:
    rows = [
        pair(1, 1, models=("me", "you")),  # the judge prefers its own
        pair(1, 1, models=("you", "me")),  # and here too
        pair(1, 1, models=("me", "you")),  # a tie
        pair(1, 0, models=("me", "you")),  # better, so it says nothing
        pair(1, 1, models=("you", "they")),
        pair(1, 1, models=("me", "you")),  # no verdict
    ]
    pairs = scored_pairs(rows, judged([5, 1], [1, 5], [3, 3], [5, 1], [5, 1], [None, 1]), range(6))

    found = self_preference(rows, pairs, 6, "me")

    assert (found["pairs"], found["figure"].value) == (3, pytest.approx(2.5 / 3))
    with pytest.raises(RowError, match=r"--own 'nobody'.*me, they, you"):
        self_preference(rows, pairs, 6, "nobody")


REWARD_BENCH_2 = {
    "id": "0", "prompt": "p", "chosen": ["GOOD"], "rejected": ["bad", "worse", "worst"], "num_correct": 1,
    "num_incorrect": 3, "total_completions": 4, "models": ["a", "b", "c", "d"], "subset": "Math",
    "additional_metadata": {"category": None},
}  # fmt: skip
JUDGE_BENCH = {
    "pair_id": "x1", "original_id": "q1", "source": "livebench-math", "question": "p", "response_model": "m",
    "response_A": "bad", "response_B": "GOOD", "label": "B>A",
}  # fmt: skip


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_of_rewardbench_2_and_judgebench_are_read(tmp_path: Path) -> None:
    name, (best_of,) = load_labelled(write(tmp_path / "a.jsonl", REWARD_BENCH_2))
    assert (name, best_of.prompt, best_of.responses) == ("rewardbench_2", "p", ["GOOD", "bad", "worse", "worst"])
    assert (best_of.gold, best_of.ties) == ([1, 0, 0, 0], False)

    name, (compared,) = load_labelled(write(tmp_path / "b.jsonl", JUDGE_BENCH))
    assert (name, compared.group, compared.prompt) == ("judgebench", "q1", "p")
    assert (compared.responses, compared.gold) == (["bad", "GOOD"], [0, 1])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**REWARD_BENCH_2, "chosen": "GOOD"}, "chosen = 'GOOD': give a list of texts"),
        ({**REWARD_BENCH_2, "rejected": []}, r"rejected = \[\]: give a list of texts"),
        ({**JUDGE_BENCH, "label": "A=B"}, "label = 'A=B': use A>B or B>A"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(RowError, match=words):
        load_labelled(write(tmp_path / "rows.jsonl", row))


def praises_good(sent: dict[str, Any]) -> Response:
    return completion(*[f"Score: {5 if 'GOOD' in sent['messages'][0]['content'] else 1}"] * sent["n"])


def test_judge_eval_reports_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "rows.jsonl", REWARD_BENCH_2, {**REWARD_BENCH_2, "prompt": "q"})
    out = tmp_path / "report"
    with listening_judge(Engine(praises_good)) as url:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        done = CliRunner().invoke(app, ["judge-eval", str(file), "--votes", "2", "--out", str(out)])

    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "report.json").read_text())
    values = {name: figure["value"] for name, figure in report["figures"].items()}
    assert report["pairs"] == 6
    names = ("kappa", "kappa_accepted", "true_positive_rate", "true_negative_rate", "best_is_right")
    assert [values[name] for name in names] == [1, 1, 1, 1, 1]
    assert "exact_match" not in values
