"""What lm-eval found, and whether a model lost abilities on the way: its figures beside those of an earlier model.

The loop trains a model on its own taste, which may cost it what that taste does not ask for (Yuan et al. 2024,
2401.10020, table 3: ARC, HellaSwag, GSM8K and NQ fall from M1 to M3).
"""

import math
from collections.abc import Mapping
from typing import Any

Figures = dict[str, dict[str, Any]]
"""By task: `metric`, `value` (0 to 1), `stderr` and `samples`."""

_ALPHA_Z = 1.96
_PREFERRED = ("acc", "exact_match")


class NoFigures(ValueError):
    """Results without a figure that can be used; the message says what is missing."""


def read_results(results: Mapping[str, Any]) -> Figures:
    """Every task's main figure of an lm-eval result file: accuracy, else exact match.

    Of a group of tasks (MMLU) the group's own figure and not its parts'; of several filters the first. NoFigures when
    there is none.
    """
    parts = {part for names in results.get("group_subtasks", {}).values() for part in names}
    found = {
        task: figure for task, given in results["results"].items() if task not in parts and (figure := _main(given))
    }
    if not found:
        raise NoFigures(f"none of {', '.join(results['results']) or 'no task'} has one of {', '.join(_PREFERRED)}")
    counted = results.get("n-samples", {})
    for task, figure in found.items():
        figure["samples"] = counted.get(task, {}).get("effective", given_samples(results["results"][task]))
    return found


def given_samples(given: Mapping[str, Any]) -> int | None:
    """How many samples a task's own entry says it rests on."""
    count = given.get("sample_len", given.get("sample_count"))
    return int(count) if isinstance(count, int) else None


def _main(given: Mapping[str, Any]) -> dict[str, Any] | None:
    for metric in _PREFERRED:
        for key, value in given.items():
            name, _, filtered = key.partition(",")
            if name == metric and isinstance(value, int | float):
                error = given.get(f"{metric}_stderr,{filtered}")
                stderr = float(error) if isinstance(error, int | float) else None
                return {"metric": metric, "filter": filtered, "value": float(value), "stderr": stderr}
    return None


def changes(now: Figures, before: Figures) -> dict[str, dict[str, Any]]:
    """By task that both have: `change`, its 95 % interval, and whether it is an `alarm`: all of it below 0.

    The two models' errors are taken as independent, which is too wide rather than too narrow where both answered the
    same questions. Without standard errors there is no interval and no alarm.
    """
    found = {}
    for task in (task for task in now if task in before and before[task]["metric"] == now[task]["metric"]):
        change = now[task]["value"] - before[task]["value"]
        errors = (now[task]["stderr"], before[task]["stderr"])
        half = None if None in errors else _ALPHA_Z * math.hypot(*errors)
        found[task] = {
            "change": change,
            "low": None if half is None else change - half,
            "high": None if half is None else change + half,
            "alarm": half is not None and change + half < 0,
        }
    return found
