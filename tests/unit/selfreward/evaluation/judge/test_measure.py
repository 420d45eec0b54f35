"""`selfreward judge-eval`: figures by hand for small sets, each format, a judge that scores and one that compares."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.responses import Response
from typer.testing import CliRunner

from selfreward import JudgeClient
from selfreward.cli.main import app
from selfreward.contracts.base import Message
from selfreward.contracts.comparisons import PairVerdict
from selfreward.contracts.judging import Judgment, Vote
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.judge.figures import (
    accuracy_by_gap,
    best_by_score,
    by_group,
    calibration,
    compared_pairs,
    pair_figures,
    score_figures,
    scored_pairs,
)
from selfreward.evaluation.judge.labelled import Labelled, load_labelled
from selfreward.evaluation.judge.measure import measure_judge
from selfreward.evaluation.judge.plot import plot_svg
from selfreward.files.rows import RowError
from tests.support.judge_engine import Engine, by_length, completion
from tests.support.listening import listening_judge

BOOTSTRAP = Bootstrap(200)


def judgment(*votes: float) -> Judgment:
    cast = [Vote(score=vote, status="ok") for vote in votes]
    score = sum(votes) / len(votes) if votes else None
    return Judgment(
        id="0", index=0, score=score, status="ok" if votes else "unscored", votes=cast, valid_votes=len(votes)
    )


def row(gold: list[float], lengths: list[int], group: str = "g") -> Labelled:
    return Labelled(group, "p", ["x" * length for length in lengths], gold)


ROWS = [row([1, 0], [4, 9]), row([1, 0], [9, 4]), row([0, 1], [5, 5]), row([1, 1], [3, 2])]
JUDGED = [
    [judgment(4, 4), judgment(2, 2)],  # right, the longer is worse
    [judgment(1, 3), judgment(2, 2)],  # a tie, the longer is better
    [judgment(), judgment(5, 5)],  # no verdict
    [judgment(5, 4), judgment(1, 1)],  # people see no difference
]


def test_pair_figures_by_hand() -> None:
    pairs = scored_pairs(ROWS, JUDGED, [0, 1, 2, 3])
    values = {name: figure.value for name, figure in pair_figures(pairs, 4).items()}

    assert values["pairwise_accuracy"] == pytest.approx(1 / 3)
    assert values["pairwise_accuracy_ties_half"] == pytest.approx(1.5 / 3)
    assert (values["tie_rate"], values["unscored_pairs"]) == (0.25, 0.25)
    assert (values["accuracy_longer_worse"], values["accuracy_longer_better"]) == (1, 0.5)
    assert (values["longer_preferred"], values["longer_preferred_gold"]) == (0.5, 0.5)
    gaps = {name: figure.value for name, figure in accuracy_by_gap(pairs, 4).items()}
    assert gaps == {"0": 0.5, "2": 1.0}


def test_confidence_comes_from_the_votes() -> None:
    pairs = scored_pairs(
        [ROWS[0]] * 3, [[judgment(1, 3), judgment(2, 2)], [judgment(3, 3), judgment(2, 3)], JUDGED[0]], [0, 1, 2]
    )

    assert pairs.p_a.tolist() == [0.5, 0.75, 1.0]


def for_a(p_a: float | None) -> PairVerdict:
    return PairVerdict(id="0", index=0, winner="a", status="ok", votes=[], valid_votes=2, p_a=p_a)


def test_calibration_of_an_honest_and_of_a_sure_judge() -> None:
    golds = [1.0] * 8 + [-1.0] * 2
    rows = [row([1, 0] if gold > 0 else [0, 1], [1, 1]) for gold in golds]

    def error(p_a: float | None) -> float | None:
        return calibration(compared_pairs(rows, [for_a(p_a)] * 10, range(10)), 10, BOOTSTRAP).error.value

    assert error(0.8) == pytest.approx(0)
    assert error(1.0) == pytest.approx(0.2)
    assert error(None) is None


def test_score_figures_by_hand() -> None:
    figures = score_figures(ROWS, JUDGED, [0, 1, 2, 3], BOOTSTRAP)

    assert figures["vote_agreement"].value == pytest.approx(5 / 7)
    assert figures["vote_stdev"].value == pytest.approx(1.5 / 7)
    assert figures["unscored"].value == pytest.approx(1 / 8)
    scores, lengths = np.array([1, -1, 1.75, -1.75]), np.array([-2.5, 2.5, 0.5, -0.5])
    expected = (scores * lengths).sum() / np.sqrt((scores**2).sum() * ((lengths**2).sum() + 2 * 2.5**2))
    assert figures["length_correlation"].value == pytest.approx(expected)
    best = {name: figure.value for name, figure in best_by_score(ROWS, JUDGED, [0, 1, 2, 3]).items()}
    assert best == {"2": 1 / 3, "4": 1, "5": 1}


def test_rows_of_one_question_are_one_draw() -> None:
    figure = by_group(pair_figures(scored_pairs(ROWS, JUDGED, [0, 1, 2, 3]), 4)["pairwise_accuracy"], [0, 0, 1, 1])

    assert figure.value == pytest.approx(1 / 3)
    assert figure.n == 2


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def mt_bench(winner: str, turn: int, question: int = 81) -> dict[str, Any]:
    return {
        "question_id": question,
        "model_a": "m",
        "model_b": "n",
        "winner": winner,
        "judge": "expert_0",
        "conversation_a": turns("q1", "a1", "q2", "a2"),
        "conversation_b": turns("q1", "b1", "q2", "b2"),
        "turn": turn,
    }


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_each_format_is_read(tmp_path: Path) -> None:
    bench = {"prompt": "p", "chosen": "c", "rejected": "r", "subset": "s"}
    trl = {"prompt": turns("p"), "chosen": turns("x", "c")[1:], "rejected": turns("x", "r")[1:]}
    name, rows = load_labelled(write(tmp_path / "r.jsonl", bench, trl))
    assert (name, rows[0]) == ("rewardbench", Labelled("line 1", "p", ["c", "r"], [1, 0]))
    assert rows[1].responses[1] == [Message(role="assistant", content="r")]

    name, rows = load_labelled(write(tmp_path / "m.jsonl", mt_bench("model_b", 1), mt_bench("tie (inconsistent)", 2)))
    assert (name, rows[0].group, rows[0].gold) == ("mt_bench", "81", [0, 1])
    assert rows[0].responses == [[Message(role="assistant", content=text)] for text in ("a1", "b1")]
    answered = rows[1].responses[1]
    assert not isinstance(answered, str)
    assert [turn.content for turn in answered] == ["b1", "q2", "b2"]
    assert (rows[1].prompt, rows[1].gold) == ([Message(role="user", content="q1")], [0, 0])

    answers = [{"text": "a", "rank": 2}, {"text": "b", "rank": 1}, {"text": "c", "rank": 2}]
    name, rows = load_labelled(write(tmp_path / "e.jsonl", {"prompt": "p", "responses": answers}))
    assert (name, rows[0].gold) == ("eft", [-2, -1, -2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"has no rows: nothing to measure"),
        ([{"a": 1}], r"line 1 has columns a: use those of one format \(.*; rewardbench: chosen, prompt, rejected; "),
        ([mt_bench("model_c", 1)], r"line 1: winner = 'model_c': use model_a, model_b or tie"),
        ([mt_bench("tie", 3)], r"line 1: turn = 3: use 1 or 2"),
        ([{"prompt": "p", "chosen": "c", "rejected": None}], r"line 1: rejected = None: give a text"),
        ([{"prompt": "p", "responses": [{"text": "a"}] * 2}], r"responses\[0\]\.rank = None: give a number, 1 for"),
        ([{"prompt": "p", "responses": []}], r"responses = \[\]: give at least two answers with text and rank"),
    ],
)
def test_a_row_that_is_no_label_is_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RowError, match=message):
        load_labelled(write(tmp_path / "in.jsonl", *rows))


def unsteady(sent: dict[str, Any]) -> Response:
    answer = sent["messages"][0]["content"].rsplit("Answer : ", 1)[1]
    return completion(*[f"Score: {min(5, len(answer))}", *[f"Score: {min(4, len(answer))}"] * (sent["n"] - 1)])


def test_the_command_writes_figures_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [{"text": "x" * (3 * rank % 7), "rank": rank} for rank in (1, 2, 3)]
    rows = [{"prompt": f"p{index}", "responses": answers} for index in range(12)]
    source, out = write(tmp_path / "eft.jsonl", *rows), tmp_path / "new" / "report"
    engine = Engine(unsteady)
    with listening_judge(engine) as url:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        arguments = ["judge-eval", str(source), "--rubric", "countdown", "--out", str(out), "--resamples", "100"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        unknown = CliRunner().invoke(app, ["judge-eval", str(source), "--rubric", "none"])

    report = json.loads(Path(f"{out}.json").read_text())
    assert report["figures"]["pairwise_accuracy"] == dict.fromkeys(("value", "low", "high"), 2 / 3) | {"n": 12}
    assert report["figures"]["accuracy_longer_better"]["value"] == 1
    assert report["figures"]["length_bias"]["value"] == 1
    assert (report["figures"]["exact_match"]["value"], report["figures"]["spearman"]["value"]) == (0, 0.5)
    assert report["judge_versions"] == ["policy@7"]
    assert (report["groups"], report["answers"], report["pairs"], len(engine.bodies)) == (12, 36, 36, 36)
    assert any("position_consistency is left out" in note for note in report["notes"])
    svg = Path(f"{out}.svg").read_text()
    assert svg.startswith("<svg")
    assert "Calibration" in svg
    assert "What a score means" in svg
    assert unknown.exit_code == 2
    assert "rubric 'none' is not known" in " ".join(unknown.output.split())


def test_an_answer_in_many_rows_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [mt_bench(winner, 1) for winner in ("model_a", "model_b", "model_a")]
    source, engine = write(tmp_path / "m.jsonl", *rows), Engine(unsteady)
    with listening_judge(engine) as url:
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        monkeypatch.chdir(tmp_path)
        assert CliRunner().invoke(app, ["judge-eval", str(source), "--rubric", "countdown"]).exit_code == 0

    assert len(engine.bodies) == 2
    assert json.loads((tmp_path / "judge-eval.json").read_text())["groups"] == 1


@pytest.mark.parametrize(("rubric", "pairs"), [("pairwise", 100), ("debate", 10)])
def test_a_judge_that_compares(tmp_path: Path, rubric: str, pairs: int) -> None:
    """It prefers the longer answer, but in one of the pairs whichever stands first."""

    def reply(sent: dict[str, Any]) -> Response:
        first = "\np0\n" in sent["messages"][0]["content"]
        return completion(*["Winner: A"] * sent["n"]) if first else by_length(sent)

    source = write(
        tmp_path / "r.jsonl", *[{"prompt": f"p{index}", "chosen": "cc", "rejected": "r"} for index in range(pairs)]
    )
    with (
        listening_judge(Engine(reply)) as url,
        JudgeClient(url) as client,
    ):
        options: Any = {"rubric": rubric, "votes": 2, "seed": 5}
        report = measure_judge(client, source, options, BOOTSTRAP, lambda _: None)

    assert report["figures"]["position_consistency"]["value"] == pytest.approx(1 - 1 / pairs)
    assert report["figures"]["pairwise_accuracy_ties_half"]["value"] == pytest.approx(1 - 0.5 / pairs)
    assert "spearman" not in report["figures"]
    assert "Calibration" in plot_svg(report)
