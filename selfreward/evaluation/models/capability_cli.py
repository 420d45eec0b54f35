"""`selfreward capability` (or `python -m selfreward.evaluation.models.capability_cli`): a panel of abilities, by
lm-eval."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from selfreward.evaluation.models.capability import NoFigures, changes, read_results
from selfreward.settings import Settings, key_of

PANELS = Path(__file__).parent / "panels"
REMEDY = "lm_eval is missing: pip install --constraint requirements.lock 'lm-eval[api]>=0.4.13,<0.5' transformers"
_err = Console(stderr=True)


class PanelError(RuntimeError):
    """The panel cannot be run; the message says why and what to do."""


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


def show(report: dict[str, Any], console: Console) -> None:
    """Print every task, and its change where there is an earlier report."""
    table = Table("task", "metric", "%", "standard error", "samples", "change", "")
    for task, figure in report["tasks"].items():
        change = report["changes"].get(task)
        shown = ""
        if change:
            shown = f"{100 * change['change']:+.1f}"
            if change["low"] is not None:
                shown += rf" \[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"
        error = "" if figure["stderr"] is None else f"{100 * figure['stderr']:.1f}"
        alarm = "ALARM" if change and change["alarm"] else ""
        samples = str(figure["samples"] or "")
        table.add_row(task, figure["metric"], f"{100 * figure['value']:.1f}", error, samples, shown, alarm)
    console.print(table)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def capability(
    tokenizer: Annotated[Path, typer.Option(help="Checkpoint folder of the served model, for its tokenizer.")],
    panel: Annotated[str, typer.Option(help="small, paper, or a file of lm-eval's (--config).")] = "small",
    out: Annotated[Path, typer.Option(help="File for the figures.")] = Path("capability.json"),
    against: Annotated[
        Path | None, typer.Option(help="Such a file of an earlier model: show the changes, alarm where one fell.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each task, for a try.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask through the model's chat template.")] = False,
) -> None:
    """Measure the served model on a panel of tasks by lm-eval, through the generator's OpenAI API.

    Example: selfreward capability --panel paper --tokenizer models/base --out m2.json --against m1.json

    Exit status: 0, 1 an ability fell, 2 a mistake or a panel that failed.
    """
    settings = Settings()
    try:
        if importlib.util.find_spec("lm_eval") is None:
            raise PanelError(REMEDY)
        file = panel_file(panel)
        before = json.loads(against.read_text()) if against else {"tasks": {}}
        key = key_of(settings)
        card = served(settings.generator_url, key)
        results = run(command(file, settings.generator_url, card, tokenizer, limit, chat), file, key)
        tasks = read_results(results)
    except (PanelError, NoFigures, OSError) as error:
        _err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    report = {
        "panel": panel,
        "model": card["id"],
        "root": card.get("root"),
        "limit": limit,
        "chat": chat,
        "lm_eval": results.get("lm_eval_version"),
        "tasks": tasks,
        "against": before.get("model"),
        "changes": changes(tasks, before["tasks"]),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    show(report, Console())
    typer.echo(str(out))
    if any(change["alarm"] for change in report["changes"].values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="selfreward capability")
