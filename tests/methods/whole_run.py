"""A shipped recipe on a few rows of the demo's data, from its submission to its end, on real parts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.worlds.countdown.seed_data import build
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.loop.audit.audit import audit
from selfreward.loop.load import load_recipe
from selfreward.processes.stack import LocalStack
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from tests.support.places import M0, RECIPES

_ROWS = {"ift": 64, "eft": 24, "eft_eval": 6, "prompts": 64, "heldout": 8}
_SMALL = [
    "prompts.per_iteration=16",
    "judging.max_tokens=32",
    "eft.judgments=8",
    "evaluation.prompts=8",
    "evaluation.samples=2",
    "evaluation.judged_prompts=4",
    *(f"{section}.epochs=1" for section in ("baseline_sft", "sft", "dpo")),
]


@dataclass(frozen=True)
class Ended:
    """What a run left, which was named `run`, and how it ended."""

    store: ArtifactStore
    state: str
    message: str
    run: str = "small"

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Rows of one of the run's JSON Lines artifacts."""
        return list(self.store.read_jsonl(f"runs/{self.run}/{name}"))


def small(
    name: str, folder: Path, overrides: Sequence[str], more: Mapping[str, Sequence[dict[str, Any]]] | None = None
) -> Recipe:
    """The recipe `name` on rows that are written to `folder`; `more` has rows to end a file with."""
    paths, built = [], build(0)
    for file, most in _ROWS.items():
        rows = built[file]
        # Two answers, the best and the worst, so that some judgments of an untrained judge agree with the ranks.
        for row in rows if file.startswith("eft") else []:
            ranked = sorted(row["responses"], key=lambda response: response["rank"])
            row["responses"] = [ranked[0], ranked[-1]]
        kept = [*rows[:most], *(more or {}).get(file, [])]
        (folder / f"{file}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
        paths.append(f"data.{file}={json.dumps(str(folder / f'{file}.jsonl'))}")
    settings = [f"model={json.dumps(str(M0))}", *paths, *_SMALL, *overrides]
    return load_recipe(RECIPES / f"{name}.toml", settings, environment={})


def whole_run(recipe: Recipe, folder: Path) -> Ended:
    """Run the recipe on a stack of its own, which is gone afterwards."""
    with LocalStack(folder, environment={"SELFREWARD_MODEL": str(M0)}) as stack:
        stack.wait_healthy(timeout=300)
        with OrchestratorClient(stack.urls["orchestrator"]) as client:
            client.start(recipe, "small")
            *_, last = client.events("small", patience=600)
    return Ended(ArtifactStore(str(folder / "artifacts")), last["state"], last["message"])


def violations(ended: Ended) -> list[str]:
    """What the auditor finds."""
    return [f"{found.kind}: {found.artifact}: {found.detail}" for found in audit(ended.store, ended.run)]
