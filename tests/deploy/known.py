"""What a deployment may name: the settings and metrics that the code has."""

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from prometheus_client import generate_latest

import orchestrator.metrics  # noqa: F401 - importing registers what is exported
import services.generator.metrics
import services.judge.metrics
import services.trainer.metrics  # noqa: F401 - the same
from orchestrator.settings import OrchestratorSettings
from selfreward.recipe.recipe import Recipe
from selfreward.settings import SECRETS_DIR, Settings
from services.generator.settings import GeneratorSettings
from services.judge.settings import JudgeSettings
from services.trainer.settings import TrainerSettings

_SETTINGS: tuple[type[Settings], ...] = (GeneratorSettings, JudgeSettings, TrainerSettings, OrchestratorSettings)
_KNOWN = {f"SELFREWARD_{name}".upper() for kind in _SETTINGS for name in kind.model_fields} | {SECRETS_DIR}
_RECIPE = "SELFREWARD_RECIPE__"
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


def unknown_settings(names: Iterable[str]) -> list[str]:
    """Variables of ours that no service reads."""
    ours = [name for name in names if name.startswith("SELFREWARD_")]
    recipe = [name.removeprefix(_RECIPE).split("__")[0] for name in ours if name.startswith(_RECIPE)]
    wrong = [name for name in ours if name not in _KNOWN and not name.startswith(_RECIPE)]
    return wrong + [name for name in recipe if name not in Recipe.model_fields]


def exported_metrics() -> set[str]:
    """Names of all series that our services and the engine export."""
    lines = [line.split() for line in generate_latest().decode().splitlines() if line.startswith("# TYPE selfreward_")]
    ours = [(name, kind) for _, _, name, kind in lines]
    return {name + suffix for name, kind in [*ours, *_engine_metrics()] for suffix in _SUFFIXES.get(kind, ("",))}


def _engine_metrics() -> list[tuple[str, str]]:
    """Read in vLLM's source, because importing it takes as long as starting it."""
    found = find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    source = (Path(found.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    kinds = re.findall(r'self\._(counter|gauge|histogram)_cls\(\s*name="(vllm:\w+)"', source)
    return [(f"{name}_total" if kind == "counter" else name, kind) for kind, name in kinds]


def named_metrics(text: str) -> set[str]:
    """Series of ours and of the engine that a query names."""
    return set(re.findall(r"\b(?:selfreward_|vllm:)\w+", text))
