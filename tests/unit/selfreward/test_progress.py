"""What people see of a run: on a terminal of 80 columns and 24 lines, and in a log file."""

import io
import re
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from selfreward.progress import RunProgress, clock

PLAN = [("M1", "train"), ("M1", "evaluate"), ("M2", "rollouts"), ("M2", "train"), ("M2", "evaluate")]
DPO = {"loss": 0.5, "rewards/accuracies": 0.75, "rewards/margins": 0.3, "epoch": 1.0, "grad_norm": 2.0}


def event(stage: str, phase: str, done: int, total: int, second: int, **more: Any) -> dict[str, Any]:
    moment = f"2026-01-01T00:{second // 60:02}:{second % 60:02}.000Z"
    return {"stage": stage, "phase": phase, "done": done, "total": total, "time": moment, **more}


RUN = [
    event("M1", "train", 0, 0, 0),
    event("M1", "train", 40, 40, 30),
    event("M1", "evaluate", 0, 0, 30),
    event("M1", "evaluate", 8, 8, 40),
    event("M2", "rollouts", 0, 0, 40),
    event("M2", "rollouts", 100, 400, 60, metrics={"mean_score": 3.214, "unscored": 0.021}),
]


def _screen(events: list[dict[str, Any]], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines on a terminal after the last event, without colours."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=24, color_system=None)
    progress = RunProgress(console, PLAN)
    for each in events:
        progress.show(each)
    # As at the moment of the last event.
    monkeypatch.setattr(progress, "_now", lambda: datetime.fromisoformat(events[-1]["time"]).timestamp())
    console.print(progress._render())
    return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line).rstrip() for line in out.getvalue().splitlines()]


def test_a_finished_stage_is_one_line_and_the_active_phase_and_the_run_are_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage, active, figures, run = _screen(RUN, 80, monkeypatch)
    assert stage == "M1       0:40   train 0:30  evaluate 0:10"
    assert re.fullmatch(r"M2 rollouts [━╸╺ ]+ 100/400 5\.0/s  1:00 left", active)
    assert figures == "  mean score 3.21  unscored 2.1%"
    # 60 s of rollouts, and of train and evaluate what M1 took.
    assert run == "run   1:00 so far   phase 3 of 5   about 1:40 to go"


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    last = event("M2", "rollouts", 123_456, 1_000_000, 3_000, message="12 failed: " + "x" * 200)
    assert max(len(line) for line in _screen([*RUN, last], width, monkeypatch)) <= width


def test_training_shows_what_tells_whether_it_learns() -> None:
    out = io.StringIO()
    with RunProgress(Console(file=out, width=80)) as progress:
        progress.show(event("M2", "train", 5, 10, 60, metrics=DPO))
    assert out.getvalue() == "M2 train: 5/10  loss 0.500  reward accuracy 75%  margin 0.30\n"


def test_without_a_terminal_a_line_is_printed_every_few_seconds_and_for_what_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, now = io.StringIO(), 0.0
    monkeypatch.setattr("selfreward.progress.time.monotonic", lambda: now)
    with RunProgress(Console(file=out, width=40)) as progress:
        for second in range(12):
            now = float(second)
            progress.show(event("M1", "train", second, 100, second))
        progress.show(event("M1", "train", 100, 100, 12, message="a note that is longer than the line is"))
        progress.show({"message": "an alarm"})
    lines = out.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "M1 train: 0/100",
        "M1 train: 5/100",
        "M1 train: 10/100",
        "M1 train: 100/100",
        "an alarm",
    ]
    assert lines[3].endswith("a note that is longer than the line is")


def test_a_clock_has_hours_only_from_the_first_on() -> None:
    assert [clock(seconds) for seconds in (0, 42.4, 725, 11_220)] == ["0:00", "0:42", "12:05", "3:07:00"]
