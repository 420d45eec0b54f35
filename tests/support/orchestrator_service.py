"""The orchestrator as a server of this process, with a real Redis and the real judge, and no engine."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.app import create_app
from orchestrator.settings import OrchestratorSettings
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.loop.load import RunRecipe
from selfreward.processes.child import free_port
from selfreward.recipe.recipe import Recipe
from services.judge.app import create_app as create_judge
from services.judge.settings import JudgeSettings
from tests.support.listening import listening

KEY = "a key"


@contextmanager
def orchestrator(redis_url: str, store_root: str, **settings: Any) -> Iterator[str]:
    """Address of an orchestrator with a judge and no engine."""
    nothing = f"http://127.0.0.1:{free_port()}"
    with listening(create_judge(JudgeSettings.model_validate({"generator_url": nothing, "api_key": KEY}))) as judge:
        addresses = {"redis_url": redis_url, "artifacts": store_root, "generator_url": nothing, "judge_url": judge}
        chosen = {**addresses, "api_key": KEY, "poll_s": 0.05, "lease_s": 1, **settings}
        with listening(create_app(OrchestratorSettings.model_validate(chosen))) as url:
            yield url


def files_recipe(folder: Path) -> Recipe:
    """A recipe for whose seed data and model there are files in `folder`."""
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (model / name).write_text("{}")
    ranked = {"prompt": "ranked", "responses": [{"text": "good", "rank": 1}, {"text": "bad", "rank": 2}]}
    files: dict[str, list[Any]] = {
        "ift": [{"prompt": "q", "response": "a"}],
        "eft": [ranked],
        "prompts": [{"prompt": "p0"}, {"prompt": "p1"}],
        "heldout": [{"prompt": "h0"}],
    }
    paths = {}
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[name] = str(path)
    values = {"name": "api", "model": str(model), "data": paths, "prompts": {"per_iteration": 1}}
    return RunRecipe.model_validate({**values, "evaluation": {"prompts": 1}, "judging": {"rubric": "countdown"}})


def wait_for(client: OrchestratorClient, run: str, **wanted: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        found = client.run(run)
        if all(found[name] == value for name, value in wanted.items()):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
