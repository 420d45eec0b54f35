"""Two-turn questions: the file, the order in which they are asked, the grades, and the score."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.client.generator import GeneratorClient
from selfreward.client.http import ServiceClient, ServiceError
from selfreward.contracts.base import Message
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.mt_bench import Question, answer_all, load_questions, rating, scores
from selfreward.files.rows import RowError
from tests.support.judge_engine import Engine, completion, content
from tests.support.listening import listening
from tests.support.places import ROOT

SHIPPED = ROOT / "examples" / "mt_bench" / "questions.jsonl"


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Good. Rating: [[7]]", 7),
        ("[[6.5]]", 6.5),
        ("First I thought [[3]]. Rating: [[8]]", 8),
        ("Rating: [7]", 7),
        ("[9] is too much: [[4]]", 4),
        ("Rating: [[10]]", 10),
        ("Rating: [[11]]", None),
        ("Rating: [[0]]", None),
        ("Rating: 7", None),
        ("[[seven]]", None),
        ("", None),
    ],
)
def test_a_grade_is_the_last_number_in_double_brackets_else_in_single_ones(text: str, grade: float | None) -> None:
    assert rating(text) == grade


def _question(name: str, category: str, reference: list[str] | None = None) -> Question:
    turns = [f"{name} first?", f"{name} second?"]
    return Question(question_id=name, category=category, turns=turns, reference=reference or [])


def test_the_second_turn_is_asked_after_the_first_answer() -> None:
    question = _question("q", "writing")
    assert question.conversation([]) == [Message(role="user", content="q first?")]
    assert question.conversation(["a1"]) == [
        Message(role="user", content="q first?"),
        Message(role="assistant", content="a1"),
        Message(role="user", content="q second?"),
    ]


@pytest.mark.parametrize(
    ("category", "temperature"),
    [("writing", 0.7), ("roleplay", 0.7), ("stem", 0.1), ("humanities", 0.1), ("math", 0), ("coding", 0), ("own", 0)],
)
def test_the_temperature_follows_from_the_category(category: str, temperature: float) -> None:
    assert _question("q", category).temperature == temperature


def test_only_questions_with_a_right_answer_are_graded_beside_a_reference() -> None:
    both = ["r1", "r2"]
    assert _question("q", "math", both).has_reference
    assert not _question("q", "math").has_reference
    assert not _question("q", "writing", both).has_reference


def test_the_score_is_the_mean_over_all_turns_and_what_has_no_grade_is_left_out_and_counted() -> None:
    questions = [_question("a", "math"), _question("b", "writing"), _question("c", "writing")]
    found = scores(questions, [[8, 6], [10, None], [None, None]], Bootstrap(100))
    assert found["score"]["value"] == pytest.approx(8)
    assert found["turn_1"]["value"] == 9
    assert found["turn_2"]["value"] == 6
    assert found["by_category"]["math"]["value"] == 7
    assert found["by_category"]["writing"]["value"] == 10
    assert found["by_category"]["writing"]["n"] == 1
    assert (found["questions"], found["unscored_turns"]) == (3, 3)
    assert scores(questions, [[None, None]] * 3, Bootstrap(100))["score"]["value"] is None


def test_our_questions_are_one_of_each_category_with_references_where_there_is_a_right_answer() -> None:
    questions = load_questions(SHIPPED)
    assert len({question.category for question in questions}) == 8
    assert {question.category for question in questions if question.has_reference} == {"math", "reasoning", "coding"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question_id": 1, "category": "math", "turns": ["only one"]}, r"questions\.jsonl, line 1:\n  turns"),
        ({"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["r"]}, "give one for each, or none"),
        ({"category": "math", "turns": ["a", "b"]}, "question_id"),
    ],
)
def test_a_row_that_cannot_be_asked_says_why(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(RowError, match=said):
        load_questions(path)


def test_an_empty_file_and_a_question_that_stands_twice_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n")
    with pytest.raises(RowError, match="has no questions"):
        load_questions(path)
    row = json.dumps({"question_id": 1, "category": "own", "turns": ["a", "b"]}) + "\n"
    path.write_text(row * 2)
    with pytest.raises(RowError, match="'1' stands twice"):
        load_questions(path)


def _model(sent: dict[str, Any]) -> Response:
    """Answers with how many turns it has seen; as a judge grades by that, beside a reference one less."""
    text = content(sent)
    if "Rating: [[number]]" not in text:
        return completion(*[f"turn {len(sent['messages']) // 2 + 1}"] * sent["n"])
    turn = int(re.findall(r"turn (\d)", text)[-1])
    return completion(*[f"Fine. [[{10 * turn // 2 - ('<reference>' in text)}]]"] * sent["n"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(_model)


def test_the_command_answers_grades_and_writes(
    url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
    with listening(engine.app) as generator:
        monkeypatch.setenv("SELFREWARD_GENERATOR_URL", generator)
        ran = CliRunner().invoke(app, ["mt-bench", str(SHIPPED), "--out", str(tmp_path), "--resamples", "100"])
    assert ran.exit_code == 0, ran.output
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["by_category"]["writing"]["value"] == pytest.approx((5 + 10) / 2)
    assert report["by_category"]["math"]["value"] == pytest.approx((4 + 9) / 2)
    assert report["turn_1"]["value"] == pytest.approx((5 * 5 + 3 * 4) / 8)
    assert [rubric.split("@")[0] for rubric in report["rubrics"]] == ["mtbench10", "mtbench10_reference"]
    assert report["answered_by"] == ["policy@7"]
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["answers"] for row in rows] == [["turn 1", "turn 2"]] * 8
    asked = {
        body["temperature"] for body in engine.bodies if body["messages"][0]["content"].startswith("Write a short")
    }
    assert asked == {0.7}


def test_an_engine_that_fails_is_named_and_not_a_group_of_errors(engine: Engine) -> None:
    async def ask() -> None:
        async with ServiceClient("http://127.0.0.1:9", attempts=1) as service:
            await answer_all(GeneratorClient(service), load_questions(SHIPPED), 16, 0, lambda _: None)

    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        asyncio.run(ask())
