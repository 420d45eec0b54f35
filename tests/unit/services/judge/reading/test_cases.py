"""Texts of judges with the right reading of each: a table of cases for all forms."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.judge.reading.criteria import CriteriaForm
from services.judge.reading.ranking import RankForm
from services.judge.reading.read import VerdictForm, read
from services.judge.reading.score import ScoreForm
from services.judge.reading.sides import FiveWayForm, sides
from services.judge.reading.words import correctness

CASES = [json.loads(line) for line in (Path(__file__).parent / "verdicts.jsonl").read_text().splitlines()]


def form_of(form: dict[str, Any]) -> VerdictForm[object]:
    """The form that a case is read by."""
    label = form["label"]
    match form["kind"]:
        case "points":
            return ScoreForm(label, form["min"], form["max"])
        case "pair":
            return sides(label, tie=True)
        case "binary":
            return correctness(label)
        case "arena":
            return FiveWayForm(label)
        case "criteria":
            return CriteriaForm(label, form["count"])
        case _:
            return RankForm(label, form["count"])


def as_json(value: object) -> object:
    """A verdict as JSON has it: a list where it is a tuple."""
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['form']['kind']}-{case['text'][:40]}")
def test_every_text_is_read_right(case: dict[str, Any]) -> None:
    reading = read(case["text"], case["finish_reason"], form_of(case["form"]))

    assert as_json(reading.value) == case["expected"], reading.reason
    assert (reading.status == "ok") == (case["expected"] is not None)
