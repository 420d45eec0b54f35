"""What a deployment may name: the settings and metrics that the code has."""

from collections.abc import Iterable

from orchestrator.settings import OrchestratorSettings
from selfreward.config import Recipe
from selfreward.settings import SECRETS_DIR, Settings
from services.generator.settings import GeneratorSettings
from services.judge.settings import JudgeSettings
from services.trainer.settings import TrainerSettings

_SETTINGS: tuple[type[Settings], ...] = (GeneratorSettings, JudgeSettings, TrainerSettings, OrchestratorSettings)
_KNOWN = {f"SELFREWARD_{name}".upper() for kind in _SETTINGS for name in kind.model_fields} | {SECRETS_DIR}
_RECIPE = "SELFREWARD_RECIPE__"


def unknown_settings(names: Iterable[str]) -> list[str]:
    """Variables of ours that no service reads."""
    ours = [name for name in names if name.startswith("SELFREWARD_")]
    recipe = [name.removeprefix(_RECIPE).split("__")[0] for name in ours if name.startswith(_RECIPE)]
    wrong = [name for name in ours if name not in _KNOWN and not name.startswith(_RECIPE)]
    return wrong + [name for name in recipe if name not in Recipe.model_fields]
