"""A panel of abilities by lm-eval, and whether a model lost some of them since an earlier one.

The loop trains a model on its own taste, which may cost it what that taste does not ask for (Yuan et al. 2024,
2401.10020, table 3: ARC, HellaSwag, GSM8K and NQ fall from M1 to M3).
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

Figures = dict[str, dict[str, Any]]
"""By task: `metric`, `value` (0 to 1), `stderr` and `samples`."""

_ALPHA_Z = 1.96
_PREFERRED = ("acc", "exact_match")


PANELS = Path(__file__).parent / "panels"
REMEDY = "lm_eval is missing: pip install --constraint requirements.lock 'lm-eval[api]>=0.4.13,<0.5' transformers"


class PanelError(RuntimeError):
    """A panel that cannot be run or gives no figures; the message says why and what to do."""


def measure_capability(
    url: str, key: str | None, panel: str, tokenizer: Path, limit: int | None, chat: bool, before: Mapping[str, Any]
) -> dict[str, Any]:
    """The report of the model that the generator at `url` serves, as JSON-ready data. Raises PanelError.

    `before` is such a report of an earlier model, or empty: `changes` says what was lost since.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise PanelError(REMEDY)
    file = panel_file(panel)
    card = served(url, key)
    results = run(command(file, url, card, tokenizer, limit, chat), file, key)
    tasks = read_results(results)
    return {
        "panel": panel,
        "model": card["id"],
        "root": card.get("root"),
        "limit": limit,
        "chat": chat,
        "lm_eval": results.get("lm_eval_version"),
        "tasks": tasks,
        "against": before.get("model"),
        "changes": changes(tasks, before.get("tasks", {})),
    }


def panel_file(name: str) -> Path:
    """The lm-eval configuration of a shipped panel, by its name, or of one's own, by its path. Raises PanelError."""
    for path in (PANELS / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path.resolve()
    shipped = ", ".join(sorted(path.stem for path in PANELS.glob("*.yaml")))
    raise PanelError(f"panel {name!r} is neither a shipped one ({shipped}) nor a file: give one of these")


def served(url: str, key: str | None) -> dict[str, Any]:
    """The version that the generator serves now, and how many tokens it takes. Raises PanelError.

    All of a panel is asked of that version: a run that publishes another one on the way ends the panel with an error,
    and no figure mixes two.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=10)
    except httpx.TransportError as error:
        raise PanelError(
            f"no generator answers at {url}: {error}; start one or set SELFREWARD_GENERATOR_URL"
        ) from error
    if not answer.is_success:
        raise PanelError(f"{url}/v1/models answers {answer.status_code}: {answer.text[:200]}")
    cards = answer.json()["data"]
    if not cards:
        raise PanelError(f"the generator at {url} serves no model yet: wait until it does")
    return dict(cards[-1])


def command(panel: Path, url: str, card: dict[str, Any], tokenizer: Path, limit: int | None, chat: bool) -> list[str]:
    """lm-eval's arguments; it is to run in the panel's folder, since its tasks name their data from there."""
    model = {
        "model": card["id"],
        "base_url": f"{url}/v1/completions",
        "tokenizer": tokenizer.resolve(),
        "tokenizer_backend": "huggingface",
        "num_concurrent": 16,
        "max_length": card.get("max_model_len") or 2048,
    }
    arguments = [sys.executable, "-m", "lm_eval", "run", "--config", str(panel), "--model", "local-completions"]
    arguments += ["--model_args", ",".join(f"{name}={value}" for name, value in model.items())]
    arguments += ["--limit", str(limit)] if limit else []
    return [*arguments, "--apply_chat_template"] if chat else arguments


def run(arguments: list[str], panel: Path, key: str | None) -> dict[str, Any]:
    """Run lm-eval, its output passed through; returns its result file. Raises PanelError when it fails."""
    environment = {**os.environ, **({"OPENAI_API_KEY": key} if key else {})}
    with tempfile.TemporaryDirectory(prefix="selfreward-capability-") as folder:
        ended = subprocess.run([*arguments, "--output_path", folder], cwd=panel.parent, env=environment, check=False)
        files = sorted(Path(folder).rglob("results_*.json"))
        if ended.returncode or not files:
            raise PanelError(
                f"lm-eval ended with status {ended.returncode} and {len(files)} results: see what it wrote"
            )
        return dict(json.loads(files[-1].read_text()))


def read_results(results: Mapping[str, Any]) -> Figures:
    """Every task's main figure of an lm-eval result file: accuracy, else exact match.

    Of a group of tasks (MMLU) the group's own figure and not its parts'; of several filters the first. PanelError when
    there is none.
    """
    parts = {part for names in results.get("group_subtasks", {}).values() for part in names}
    figures = {
        task: figure for task, given in results["results"].items() if task not in parts and (figure := _main(given))
    }
    if not figures:
        raise PanelError(f"none of {', '.join(results['results']) or 'no task'} has one of {', '.join(_PREFERRED)}")
    counted = results.get("n-samples", {})
    for task, figure in figures.items():
        figure["samples"] = counted.get(task, {}).get("effective", _samples(results["results"][task]))
    return figures


def _samples(given: Mapping[str, Any]) -> int | None:
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
    changed = {}
    for task in (task for task in now if task in before and before[task]["metric"] == now[task]["metric"]):
        change = now[task]["value"] - before[task]["value"]
        errors = (now[task]["stderr"], before[task]["stderr"])
        half = None if None in errors else _ALPHA_Z * math.hypot(*errors)
        changed[task] = {
            "change": change,
            "low": None if half is None else change - half,
            "high": None if half is None else change + half,
            "alarm": half is not None and change + half < 0,
        }
    return changed
