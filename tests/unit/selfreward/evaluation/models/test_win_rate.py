"""Win rates from files to figures, by a real judge service whose engine's taste is known."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from typer.testing import CliRunner

from selfreward import JudgeClient
from selfreward.cli.main import app
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.answer_files import duels, load_answers
from selfreward.evaluation.models.win_rate import measure_win_rate
from selfreward.files.rows import RowError
from tests.support.judge_engine import Engine, completion

PROMPTS = 300


def _chance(*parts: object) -> float:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def _taste(body: dict[str, Any]) -> Response:
    """Prefers the better answer, whose quality its text states, and is biased: 40 characters more are 1 point."""
    text = str(body["messages"][0]["content"])
    a, b = (text.split(f"<response_{side}>")[1].split("</response")[0].strip() for side in "ab")
    quality = [float(re.findall(r"-?\d+\.\d+", answer)[0]) for answer in (a, b)]
    lead = quality[0] - quality[1] + (len(a) - len(b)) / 40
    return completion(*[f"Winner: {'tie' if lead == 0 else 'A' if lead > 0 else 'B'}"] * body["n"])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(_taste)


def _answer(model: str, prompt: int, lead: float) -> str:
    chance = 0.001 + 0.998 * _chance(model, prompt)
    quality = lead + math.log(chance / (1 - chance))
    return f"{quality:.4f} " + "words " * int(10 * _chance("length", model, prompt))


def _write(path: Path, answers: list[str]) -> Path:
    rows = [{"prompt": f"Question {index}", "response": answer} for index, answer in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _measured(client: JudgeClient, answers: Path, baseline: Path) -> dict[str, Any]:
    options: JudgeOptions = {"rubric": "pairwise", "votes": 1}
    return measure_win_rate(client, answers, baseline, options, Bootstrap(300), lambda _: None)[0]


def test_padding_a_models_answers_raises_the_raw_win_rate_and_leaves_the_length_controlled_one(
    client: JudgeClient, tmp_path: Path
) -> None:
    own = [_answer("own", prompt, 0.4) for prompt in range(PROMPTS)]
    padded = [answer + "indeed " * int(12 * _chance("pad", index)) for index, answer in enumerate(own)]
    baseline = _write(tmp_path / "baseline.jsonl", [_answer("baseline", prompt, 0.0) for prompt in range(PROMPTS)])
    plain, longer = (
        _measured(client, _write(tmp_path / f"{name}.jsonl", answers), baseline)["figures"]
        for name, answers in (("own", own), ("padded", padded))
    )
    assert longer["win_rate"]["value"] - plain["win_rate"]["value"] > 0.1
    assert longer["win_rate"]["low"] > plain["win_rate"]["high"]
    moved = longer["length_controlled_win_rate"]["value"] - plain["length_controlled_win_rate"]["value"]
    assert abs(moved) < 0.03
    assert longer["longer_wins"]["low"] > 0.5
    assert longer["mean_length"]["value"] > plain["mean_length"]["value"] + 30


def test_a_model_against_itself_ties_everywhere_and_nobody_is_asked(
    client: JudgeClient, engine: Engine, tmp_path: Path
) -> None:
    answers = _write(tmp_path / "own.jsonl", [_answer("own", prompt, 0.4) for prompt in range(10)])
    asked = len(engine.bodies)
    figures = _measured(client, answers, answers)["figures"]
    assert [figures[name]["value"] for name in ("win_rate", "length_controlled_win_rate", "tie")] == [0.5, 0.5, 1]
    assert len(engine.bodies) == asked


def test_changing_sides_turns_the_figures_round(client: JudgeClient, tmp_path: Path) -> None:
    a, b = (
        _write(tmp_path / f"{name}.jsonl", [_answer(name, prompt, lead) for prompt in range(40)])
        for name, lead in (("a", 0.8), ("b", 0.0))
    )
    there, back = (_measured(client, *files)["figures"] for files in ((a, b), (b, a)))
    for name in ("win_rate", "length_controlled_win_rate"):
        assert there[name]["value"] + back[name]["value"] == pytest.approx(1, abs=1e-6)
    assert there["win"]["value"] == back["lose"]["value"]


def test_a_judge_that_goes_by_position_only_ties(client: JudgeClient, engine: Engine, tmp_path: Path) -> None:
    a, b = (_write(tmp_path / f"{name}.jsonl", [_answer(name, prompt, 0) for prompt in range(10)]) for name in "ab")
    engine.reply = lambda body: completion(*["Winner: A"] * body["n"])
    try:
        figures = _measured(client, a, b)["figures"]
    finally:
        engine.reply = _taste
    assert [figures[name]["value"] for name in ("tie", "win_rate")] == [1, 0.5]


def test_what_the_judge_could_not_decide_is_left_out_and_counted(
    client: JudgeClient, engine: Engine, tmp_path: Path
) -> None:
    a, b = (_write(tmp_path / f"{name}.jsonl", [_answer(name, prompt, 0) for prompt in range(4)]) for name in "ab")

    def reply(body: dict[str, Any]) -> Response:
        unread = "Question 2" in str(body["messages"])
        return completion(*["I cannot decide."] * body["n"]) if unread else _taste(body)

    engine.reply = reply
    try:
        found = _measured(client, a, b)
    finally:
        engine.reply = _taste
    assert found["figures"]["unscored"]["value"] == 0.25
    assert found["figures"]["win_rate"]["n"] == 3
    # Three prompts are too few for the model of length, which is said by there being no value.
    assert found["figures"]["length_controlled_win_rate"]["value"] is None
    assert found["length_model"] is None


def _rollout(prompt: str, texts: list[str]) -> dict[str, Any]:
    return {
        "key": prompt,
        "run": "r",
        "stage": "M1",
        "prompt_id": prompt,
        "prompt": [{"role": "user", "content": prompt}],
        "policy_version": "policy@1",
        "responses": [{"text": text, "finish_reason": "stop", "tokens": 1} for text in texts],
    }


def test_a_runs_answers_and_plain_rows_meet_by_their_prompts(tmp_path: Path) -> None:
    run, plain = tmp_path / "samples.jsonl", tmp_path / "plain.jsonl"
    rows = [_rollout("x", ["x1", "x2"]), _rollout("y", ["y1", "y2"]), _rollout("z", ["z1", "z2"])]
    run.write_text("".join(json.dumps(row) + "\n" for row in rows))
    theirs = [("z ", "Z"), ("x", "X1"), ("x", "X2"), ("x", "X3"), ("w", "W")]
    plain.write_text("".join(json.dumps({"prompt": p, "completion": text}) + "\n" for p, text in theirs))
    found = duels(load_answers(run), load_answers(plain))
    assert [(duel.group, duel.a, duel.b) for duel in found] == [(0, "x1", "X1"), (0, "x2", "X2"), (1, "z1", "Z")]


def test_files_that_cannot_be_used_say_where_and_why(tmp_path: Path) -> None:
    one, other = _write(tmp_path / "one.jsonl", ["x"]), tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "another", "response": "y"}) + "\n")
    with pytest.raises(RowError, match="no prompt in common"):
        duels(load_answers(one), load_answers(other))
    other.write_text(json.dumps({"prompt": "another"}) + "\n")
    with pytest.raises(RowError, match=r"other\.jsonl, line 1: response is missing"):
        load_answers(other)
    other.write_text(json.dumps({"prompt": "another", "responses": ["y"]}) + "\n")
    with pytest.raises(RowError, match="no row that a run wrote"):
        load_answers(other)
    other.write_text("\n")
    with pytest.raises(RowError, match="has no rows"):
        load_answers(other)


def test_a_rubric_that_scores_lets_the_higher_score_win(
    url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = _write(tmp_path / "a.jsonl", ["ab", "abcd", "abc"]), _write(tmp_path / "b.jsonl", ["abc", "a", "xyz"])
    engine.reply = lambda body: completion(
        *[f"Score: {len(str(body['messages'][0]['content']).rsplit('Answer : ', 1)[1])}"] * body["n"]
    )
    monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
    try:
        ran = CliRunner().invoke(
            app, ["win-rate", str(a), str(b), "--rubric", "countdown", "--out", str(tmp_path / "out" / "found")]
        )
    finally:
        engine.reply = _taste
    assert ran.exit_code == 0, ran.output
    report = json.loads((tmp_path / "out" / "found.json").read_text())
    assert [report["figures"][name]["value"] for name in ("win", "tie", "lose")] == pytest.approx([1 / 3] * 3)
    rows = [json.loads(line) for line in (tmp_path / "out" / "found.jsonl").read_text().splitlines()]
    assert [(row["preference"], row["scores"]) for row in rows] == [(0, [2, 3]), (1, [4, 1]), (0.5, [3, 3])]


def test_the_arena_rubric_gives_an_arena_score_too(client: JudgeClient, engine: Engine, tmp_path: Path) -> None:
    a, b = _write(tmp_path / "a.jsonl", ["x", "y", "same"]), _write(tmp_path / "b.jsonl", ["X", "Y", "same"])

    def reply(body: dict[str, Any]) -> Response:
        text = str(body["messages"][0]["content"])
        small_first = text.split("<response_a>")[1].split("</response_a>")[0].strip().islower()
        if "Question 0" in text:  # the small letter is much better
            return completion("[[A>>B]]" if small_first else "[[B>>A]]")
        return completion("[[B>A]]" if small_first else "[[A>B]]")

    engine.reply = reply
    try:
        report, _ = measure_win_rate(client, a, b, {"rubric": "arena", "votes": 1}, Bootstrap(100), lambda _: None)
    finally:
        engine.reply = _taste
    # Two clear wins (6 of 6), two slight losses (0 of 2), and the two ties of the equal answers (1 of 2).
    assert report["arena"]["value"] == pytest.approx(7 / 10)
    assert (report["arena"]["level"], report["arena"]["resamples"]) == (0.9, 100)
    assert report["figures"]["win_rate"]["value"] == 0.5
