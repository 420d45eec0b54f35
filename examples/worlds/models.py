"""The base models of the demo by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from examples.worlds.world import ROOT, WORLDS, World, WorldError

M0: Final = WORLDS / "countdown" / "m0"
"""The committed model of a million parameters, which knows the words of Countdown alone."""


def model_of(world: World, name: str) -> tuple[str, Path]:
    """Name and checkpoint folder of the base model: `m0`, `smollm2` or a folder; "" is the world's default.

    Raises WorldError for a name that the world's recipe is not made for, or where the model cannot be had.
    """
    chosen = name or world.models[0]
    if Path(chosen).is_dir():
        return Path(chosen).resolve().name.lower(), Path(chosen).resolve()
    if chosen not in world.models:
        made_for = ", ".join(world.models)
        raise WorldError(f"{world.recipe.name} is not for model {chosen!r}: choose {made_for}, or a checkpoint folder")
    return chosen, M0 if chosen == "m0" else _fetched(chosen)


def _fetched(name: str) -> Path:
    """The folder of a model that `selfreward model fetch` knows, fetched at its first use."""
    command = [sys.executable, "-m", "selfreward", "model", "fetch", name]
    fetched = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if fetched.returncode:
        raise WorldError(f"model {name!r} could not be fetched (see above); give a checkpoint folder as the model")
    return Path(fetched.stdout.strip())
