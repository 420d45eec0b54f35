"""What a world gives to the programs beside this file, and how a world is found by its name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
WORLDS: Final = Path(__file__).resolve().parent
DEFAULT: Final = "countdown"
SEED_FILES: Final = ("ift", "eft", "eft_eval", "prompts", "heldout")
"""The stems of the files that a world's `write_seed_data` writes, with the rows that `selfreward.loop.rows` reads."""


class WorldError(ValueError):
    """A world or a model that cannot be had; the message names it and the remedy."""


@dataclass(frozen=True)
class World:
    """A kind of problem with an exact checker.

    `points(prompt, answer)` says which of the points named `point_names` an answer has; all of them together prove that
    it solves the problem. It raises ValueError for a prompt that states no problem of this world.
    `write_seed_data(seed, folder)` writes the files of a seed, those of `SEED_FILES` at least, and returns how many
    rows each stem has: the same files for the same seed, and no problem of `eft_eval` or `heldout` in any other file.

    `models` are the names in `examples.worlds.models` that the recipe is made for, the default one first. `rubrics` is
    the folder of the world's own rubrics, None where the recipe names a shipped one. `settings` are added to the
    environment of the services. `overrides` are applied to the recipe before those of the command line.
    """

    name: str
    title: str
    point_names: tuple[str, ...]
    points: Callable[[str, str], Mapping[str, bool]]
    write_seed_data: Callable[[int, Path], Mapping[str, int]]
    recipe: Path
    models: tuple[str, ...]
    rubrics: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    def score(self, prompt: str, answer: str) -> int:
        """The number of points that an answer has, 0 to `len(point_names)`; 0 if the prompt is outside this world."""
        try:
            return sum(self.points(prompt, answer).values())
        except ValueError:
            return 0

    def solved(self, prompt: str, answer: str) -> bool:
        """Whether an answer has all points. Nothing solves a prompt outside this world."""
        return self.score(prompt, answer) == len(self.point_names)

    @property
    def slug(self) -> str:
        """The name as part of the name of a run or a folder."""
        return self.name.replace(":", "-").replace("_", "-").lower()


def world_names() -> list[str]:
    """The names of all worlds: the folders beside this file that have a `world.py`."""
    return sorted(path.parent.name for path in WORLDS.glob("*/world.py"))


def load_world(name: str) -> World:
    """The world `name`, or `folder:detail` where the folder holds many worlds, as `reasoning_gym:simple_integration`.

    A folder's `world.py` has a function `world(detail)`. Raises WorldError for an unknown world or detail, and where a
    package is missing.
    """
    folder, _, detail = name.partition(":")
    if folder not in world_names():
        raise WorldError(f"there is no world {name!r}: choose one of {', '.join(world_names())}")
    found: World = importlib.import_module(f"examples.worlds.{folder}.world").world(detail)
    return found


def service_settings(world: World, model: Path) -> dict[str, str]:
    """The environment of the services of a run on a world. What this process's environment sets has precedence."""
    settings = {"SELFREWARD_MODEL": str(model), **world.settings}
    if world.rubrics:
        settings["SELFREWARD_JUDGE_RUBRICS"] = str(world.rubrics)
    return {name: os.environ.get(name, value) for name, value in settings.items()} | {"SELFREWARD_MODEL": str(model)}
