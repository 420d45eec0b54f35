"""`selfreward rubric check`: what is refused, what is warned of, and what passes."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from selfreward.cli.main import app
from services.judge.rubrics.check import folders_in, refusals, warnings
from services.judge.rubrics.rubric import SHIPPED, load_rubric, load_rubrics

SPEC = 'title = "T"\n'
TEMPLATE = "Grade <response>{response}</response> to <prompt>{prompt}</prompt>. Score: <points>"


def write(folder: Path, spec: str = SPEC, template: str = TEMPLATE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "rubric.toml").write_text(spec)
    (folder / "template.txt").write_text(template)
    return folder


def test_what_is_shipped_for_any_judge_passes_without_a_warning() -> None:
    """The demo's rubrics ask for no verdict, because its judges are trained to write one."""
    rubrics = load_rubrics([SHIPPED]).values()

    assert [rubric.name for rubric in rubrics if list(refusals(rubric))] == [
        "countdown",
        "countdown_constitution",
        "countdown_meta",
        "countdown_steps",
    ]
    assert [message for rubric in rubrics for message in warnings(rubric)] == []


@pytest.mark.parametrize(
    ("label", "asked", "passes"),
    [
        ("Score:", "End with SCORE : your points", True),
        ("Score:", "End with your points", False),
        ("Score:", "What is its underscore: a sign?", False),
        ("Final grade:", "**Final grade**: 1 to 5", True),
        ("Final grade:", "the grade, in the final line", False),
    ],
)
def test_a_template_must_ask_for_the_verdict(tmp_path: Path, label: str, asked: str, passes: bool) -> None:
    template = f"<r>{{response}}</r> <p>{{prompt}}</p> {asked}"
    rubric = load_rubric(write(tmp_path / "mine", f'{SPEC}verdict_label = "{label}"\n', template))

    assert (list(refusals(rubric)) == []) is passes
    if not passes:
        assert f"never asks for the verdict: {label!r} is not in it" in next(refusals(rubric))


@pytest.mark.parametrize(
    ("template", "delimiters", "words"),
    [
        ("Task: {prompt} <r>{response}</r> Score:", "[]", ["{prompt} has no tags", "('Task:') is not in delimiters"]),
        ("Task: {prompt} <r>{response}</r> Score:", '["Task:"]', []),
        ("<p>{prompt}</p> <r>{response}</s> Score: <s>", "[]", ["{response} has no tags"]),
        ("<p>{prompt}</p> <r>{response}</r> {respones} Score:", "[]", ["has {respones}, plain text for kind 'points'"]),
        (TEMPLATE, "[]", []),
    ],
)
def test_a_mark_that_a_candidate_can_forge_is_warned_of(
    tmp_path: Path, template: str, delimiters: str, words: list[str]
) -> None:
    rubric = load_rubric(write(tmp_path / "mine", f"{SPEC}delimiters = {delimiters}\n", template))

    assert len(list(warnings(rubric))) == bool(words)
    assert all(word in next(warnings(rubric)) for word in words)


def test_a_folder_is_a_rubric_or_has_some(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")

    assert folders_in(first) == [first]
    assert folders_in(tmp_path) == [first, second]
    assert folders_in(tmp_path / "nowhere") == []


def test_the_command_says_what_it_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "broken", "title = 1")
    write(tmp_path / "good")
    write(tmp_path / "silent", template="{prompt} {response}")

    refused = CliRunner().invoke(app, ["rubric", "check", str(tmp_path)])
    lines = capfd.readouterr().out.splitlines()
    passed = CliRunner().invoke(app, ["rubric", "check", "--trained", str(tmp_path / "silent")])

    assert (refused.exit_code, passed.exit_code) == (1, 0)
    starts = ["refused: rubric broken: ", "  title", "ok: good@sha256:", "refused: rubric silent: template.txt never"]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=False)] == starts
    assert sum(line.startswith("warning: rubric silent: ") for line in lines) == 2
