"""The demo's recipe and data, cut down to what a test can wait for."""

import json
from collections.abc import Sequence
from pathlib import Path

from examples.worlds.countdown.seed_data import build
from selfreward.loop.load import load_recipe
from selfreward.recipe.recipe import Recipe
from tests.support.places import M0, RECIPES

PROMPTS, SAMPLES, HELDOUT, JUDGED, RANKED = 16, 2, 8, 4, 6
OVERRIDES = [
    "loop.iterations=1",
    f"prompts.per_iteration={PROMPTS}",
    "judging.max_tokens=32",
    "eft.judgments=8",
    "pairs.judge_pairs=0.5",
    f"evaluation.prompts={HELDOUT}",
    f"evaluation.samples={SAMPLES}",
    f"evaluation.judged_prompts={JUDGED}",
    *(f"{section}.epochs=1" for section in ("baseline_sft", "sft", "dpo")),
]
_ROWS = {"ift": 64, "eft": 24, "eft_eval": RANKED, "prompts": 64, "heldout": HELDOUT}


def small_recipe(folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """One DPO round on a few rows of the demo's data: one file in `folder` for each `data.<name>`."""
    paths = []
    built = build(0)
    for name, most in _ROWS.items():
        rows = built[name]
        # Two answers, the best and the worst, so that some judgments of an untrained judge agree with the ranks.
        for row in rows if name.startswith("eft") else []:
            ranked = sorted(row["responses"], key=lambda response: response["rank"])
            row["responses"] = [ranked[0], ranked[-1]]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[:most]))
        paths.append(f"data.{name}={json.dumps(str(path))}")
    model = json.dumps(str(M0))
    settings = [f"model={model}", *paths, *OVERRIDES, *overrides]
    return load_recipe(RECIPES / "countdown.toml", settings, environment={})
