"""`selfreward doctor`: what of this machine, and of a recipe, will not work."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from selfreward.cli.options import Folder
from selfreward.cli.output import stdout

_STYLES = {"ok": "green", "note": "yellow", "FAIL": "bold red"}
_NEEDED = {
    "vllm": "the engine",
    "torch": "training",
    "trl": "training",
    "transformers": "training",
    "fastapi": "the services",
    "numpy": "the report",
}


class Finding(NamedTuple):
    """What was looked at, and how it is; `FAIL` is what keeps a run from working."""

    verdict: Literal["ok", "note", "FAIL"]
    what: str
    text: str


def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="Also check that this recipe can run here.")] = None,
    folder: Folder = Path("runs/local"),
) -> None:
    """Check this machine, and a recipe's model and seed files, and say what will not work and what to do.

    Looked at: Python, cores, memory, GPU, the packages of engine and trainer, Redis, ports, disk, the judge's engine;
    of a recipe its model, chat template and seed files, and whether memory and disk are enough.

    Example: selfreward doctor mine/recipe.toml

    Exit status: 0 nothing stands in the way, 1 something does.
    """
    findings = [*_machine(folder), *_judge_engine()]
    if recipe is not None:
        findings += _recipe(recipe, folder)
    for finding in findings:
        stdout.print(f"{finding.verdict:<5}", style=_STYLES[finding.verdict], end="")
        stdout.print(f"{finding.what:<10} {finding.text}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(any(finding.verdict == "FAIL" for finding in findings))


def _machine(folder: Path) -> Iterator[Finding]:
    from selfreward.estimate.devices import has_gpu, this_cpu
    from selfreward.processes.child import is_free
    from selfreward.processes.redis import redis_binary
    from selfreward.processes.stack import PORTS
    from selfreward.processes.stack_file import running_urls
    from selfreward.server.disk import free_bytes

    version = ".".join(map(str, sys.version_info[:3]))
    right = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("ok" if right else "FAIL", "python", version if right else f"{version}: 3.11, 3.12 or 3.13 is needed")
    cpu, gpu = this_cpu(), has_gpu()
    yield Finding("ok" if cpu.cores > 1 else "note", "cores", f"{cpu.cores}, {'with' if cpu.bf16 else 'without'} bf16")
    yield Finding("ok", "memory", f"{cpu.memory:.0f} GB")
    chosen = os.environ.get("SELFREWARD_ENGINE", "cpu")
    if chosen == "gpu" and not gpu:
        yield Finding("FAIL", "gpu", "SELFREWARD_ENGINE=gpu, and there is no NVIDIA GPU: leave it out")
    else:
        unused = gpu and chosen == "cpu"
        text = "there is one, and the engine runs on the CPU: set SELFREWARD_ENGINE=gpu" if unused else "used"
        yield Finding("note" if unused else "ok", "gpu", text if gpu else "none: engine and training run on the CPU")
    missing = [f"{name} ({use})" for name, use in _NEEDED.items() if importlib.util.find_spec(name) is None]
    remedy = f"missing: {', '.join(missing)}; run `make install` in a checkout"
    yield Finding("FAIL" if missing else "ok", "packages", remedy if missing else ", ".join(_NEEDED))
    try:
        yield Finding("ok", "redis", redis_binary())
    except RuntimeError as error:
        yield Finding("FAIL", "redis", str(error))
    running = running_urls(folder)
    taken = [f"{name} {port}" for name, port in PORTS.items() if not is_free(port)]
    if running:
        yield Finding("ok", "stack", f"runs in {folder}: {running.get('orchestrator')}")
    else:
        free = f"taken: {', '.join(taken)}; `selfreward up` takes others" if taken else "free"
        yield Finding("note" if taken else "ok", "ports", free)
    disk = free_bytes(folder) / 1e9
    yield Finding("ok" if disk > 5 else "note", "disk", f"{disk:.1f} GB free at {folder}")


def _judge_engine() -> Iterator[Finding]:
    """The engine of the judge, if it is another one than the generator."""
    import httpx

    from selfreward.settings import base_url

    url = os.environ.get("SELFREWARD_JUDGE_ENGINE_URL")
    if not url:
        yield Finding("ok", "judge", "asks the generator (SELFREWARD_JUDGE_ENGINE_URL names another engine)")
        return
    key = os.environ.get("SELFREWARD_JUDGE_ENGINE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{base_url(url)}/models", headers=headers, timeout=10)
    except httpx.HTTPError as error:
        yield Finding("FAIL", "judge", f"SELFREWARD_JUDGE_ENGINE_URL={url} does not answer: {error}")
        return
    said = f"HTTP {answer.status_code} of {url}"
    refused = answer.status_code in (401, 403)
    yield Finding("FAIL" if refused else "ok", "judge", f"{said}: set SELFREWARD_JUDGE_ENGINE_KEY" if refused else said)


def _recipe(path: Path, folder: Path) -> Iterator[Finding]:
    """The recipe's model, its template, the seed files, and what of them the machine has to hold."""
    from selfreward.cli.runs.plan import needs
    from selfreward.loop.load import load_recipe
    from selfreward.loop.rows import SeedError
    from selfreward.loop.seed.chat_template import check_of
    from selfreward.loop.seed.read import accept, read_seed_data
    from selfreward.recipe.recipe import RecipeError
    from selfreward.server.disk import free_bytes

    try:
        recipe = load_recipe(path)
    except RecipeError as error:
        yield Finding("FAIL", "recipe", str(error))
        return
    yield Finding("ok", "recipe", f"{recipe.name}, method {recipe.method}")
    model, check = Path(recipe.model), None
    wanted = ("config.json", "tokenizer_config.json", "*.safetensors")
    missing = [name for name in wanted if not any(model.glob(name))]
    if missing:
        yield Finding("FAIL", "model", f"{model} has no {', '.join(missing)}: give a complete checkpoint folder")
    else:
        yield Finding("ok", "model", str(model))
        try:
            check = check_of(model)
            yield Finding(
                "ok" if check else "FAIL",
                "template",
                "of the model" if check else f"{model} has no chat template: add chat_template.jinja",
            )
        except ValueError as error:
            yield Finding("FAIL", "template", str(error))
    try:
        seed = read_seed_data(recipe, check or accept)
        counts = {name: len(getattr(seed, name)) for name in ("ift", "eft", "eft_eval", "prompts", "heldout")}
        yield Finding("ok", "seed", ", ".join(f"{name} {count:,}" for name, count in counts.items() if count))
    except SeedError as error:
        yield Finding("FAIL", "seed", str(error))
    if not missing:
        fits, verdict, disk = needs(recipe)
        yield Finding("ok" if fits else "FAIL", "memory", verdict)
        free = free_bytes(folder) / 1e9
        enough = disk < free
        text = f"checkpoints take {disk:.1f} GB, {free:.1f} are free"
        remedy = f"{text}: free some, or set retention.keep_checkpoints"
        yield Finding("ok" if enough else "FAIL", "disk", text if enough else remedy)
