"""Every shipped recipe plans, costs, trains and pairs what it did before methods became classes, byte for byte.

`golden/` was captured from that code, and M0's evaluation was added when runs got it: stages, phases, tokens, the
figures of `selfreward plan`, training jobs, keys of tasks, and the pairs that stored rollouts give. A change to one of
these is a change for running runs: capture anew, with CAPTURE_GOLDEN=1 in the environment, only with a reason.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from selfreward.contracts.base import Message, content_key
from selfreward.contracts.rollouts import Response, Rollout
from selfreward.estimate.devices import GPUS
from selfreward.estimate.shape import Shape
from selfreward.estimate.stages import SeedSizes, plan_run
from selfreward.estimate.time import Assumptions
from selfreward.loop import paths
from selfreward.loop.load import load_recipe
from selfreward.loop.methods import method_of
from selfreward.loop.pairing import OUTCOMES, judge_pair
from selfreward.loop.stages import replays
from selfreward.loop.tasks import PromptItem
from selfreward.loop.train_jobs import replay
from selfreward.recipe.recipe import Recipe
from tests.support.places import RECIPES

RUN = "golden"
SHAPE = Shape(
    model_type="llama",
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=512,
)
CANARY = [Message(role="user", content="canary")]
FILES = sorted(Path(__file__).with_name("golden").glob("*.json"))


CAPTURE = "CAPTURE_GOLDEN" in os.environ


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    content: dict[str, Any] = json.loads(request.param.read_text())
    yield content
    if CAPTURE:
        request.param.write_text(json.dumps(content, separators=(",", ":")) + "\n")


def check(golden: dict[str, Any], name: str, made: Any) -> None:
    """`made` is what the file has under `name`, or becomes it."""
    if CAPTURE:
        golden[name] = made
    assert text(made) == text(golden[name])


@pytest.fixture
def recipe(golden: dict[str, Any]) -> Recipe:
    return load_recipe(RECIPES / f"{golden['recipe']}.toml", golden["overrides"], environment={})


def text(value: object) -> str:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True)


def rows(values: Any) -> list[dict[str, Any]]:
    return [value.model_dump(mode="json") for value in values]


def item(number: int, *responses: str) -> PromptItem:
    prompt = [Message(role="user", content=f"question {number}")]
    name = f"prompts-{number:05d}"
    return PromptItem(prompt_id=name, prompt=prompt, responses=[Response(text=response) for response in responses])


def test_plan(golden: dict[str, Any], recipe: Recipe) -> None:
    method = method_of(recipe)
    first = method.stages(recipe)[0]
    planned = {
        stage: {
            "kind": method.kind(recipe, stage),
            "phases": list(method.phases(recipe, stage)),
            "actor": None if stage == first else method.actor(recipe, stage),
            "parent": None if stage == first else method.parent(recipe, stage),
        }
        for stage in method.stages(recipe)
    }
    check(golden, "stages", planned)
    assert list(planned) == list(golden["stages"])
    check(golden, "hash", recipe.hash)


def test_costs(golden: dict[str, Any], recipe: Recipe) -> None:
    method = method_of(recipe)

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else asdict(value) if hasattr(value, "__dict__") else value

    planned = plan_run(recipe, SHAPE, SeedSizes(), Assumptions(GPUS["h100"], 8))
    costs = {
        "prompts": method.slices(recipe) * recipe.prompts.per_iteration,
        "tokens": method.tokens(recipe, 300, 150),
        "plan": [[plain(value) for value in row] for row in planned],
    }
    check(golden, "costs", costs)


def test_training_jobs(golden: dict[str, Any], recipe: Recipe) -> None:
    method, jobs = method_of(recipe), {}
    for stage in method.stages(recipe):
        judge = "policy@2" if method.training_judge(recipe, stage) else ""
        jobs[stage] = method.train_job(RUN, recipe, stage, CANARY, judge).model_dump(mode="json")
        if "score" in method.phases(recipe, stage):
            jobs[f"{stage} score"] = method.score_job(RUN, recipe, stage, CANARY).model_dump(mode="json")
    check(golden, "jobs", jobs)


def test_prompts_and_tasks(golden: dict[str, Any], recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    method, tasks = method_of(recipe), {}
    given = ["given"] if method.answers(recipe, method.stages(recipe)[-1]) > recipe.sampling.n else []
    given = ["given"] if any(stage.startswith("F") for stage in method.stages(recipe)) else given
    items = [item(0, *given), item(1, *given)]
    ranked = [item(9, "x", "y").model_copy(update={"prompt_id": "eft-00000"})]
    for stage in method.stages(recipe):
        phases = method.phases(recipe, stage)
        if "rollouts" in phases:
            asked = ranked if method.kind(recipe, stage) == "eft" else items
            inputs = {"items": rows(asked), "constitution": [golden["constitution"]]}
            tasks[stage] = rows(method.tasks(RUN, recipe, stage, "rollouts", "policy@2", inputs))
        if "meta" in phases and stage in golden["rollouts"]:
            inputs = {"rollouts": golden["rollouts"][stage]}
            tasks[f"{stage} meta"] = rows(method.tasks(RUN, recipe, stage, "meta", "policy@2", inputs)[:2])
        if "evaluate" in phases:
            tasks[f"{stage} evaluate"] = rows(method.evaluation_tasks(RUN, recipe, stage, items, ranked, "policy@2"))
    check(golden, "tasks", {name: content_key(value) for name, value in tasks.items()})
    stage = next(s for s in method.stages(recipe) if method.kind(recipe, s) in ("round", "future"))
    ift = [
        {"prompt": rows(item(n).prompt), "completion": [{"role": "assistant", "content": f"answer {n}"}]}
        for n in range(4000)
    ]
    inputs = {"prompts": golden["prompt_rows"], "past": golden["past"], "ift": ift}
    # The stored prompts are one slice: let every stage take the first.
    monkeypatch.setattr(type(method), "slice_index", lambda *_: 0)
    assert text(method.prompts(recipe, stage, inputs)[:4]) == text(golden["prompts"])


def test_pairs(golden: dict[str, Any], recipe: Recipe) -> None:
    method, made = method_of(recipe), {}
    stored = {name: [Rollout.model_validate(row) for row in value] for name, value in golden["rollouts"].items()}
    for stage in golden["pairs"]:
        done = stored[stage]
        asked = [{"prompt_id": rollout.prompt_id} for rollout in done]
        held_out = [{"prompt": rows(item(100).prompt)}]
        inputs: dict[str, Any] = {"logprobs": golden["logprobs"].get(stage, []), "heldout": held_out, "asked": asked}
        inputs |= {"meta": golden["rollouts"].get(f"{stage} meta", [])}
        if stage not in method.rollout_stages(recipe, stage) or len(method.rollout_stages(recipe, stage)) > 1:
            (first,) = method.rollout_stages(recipe, stage) - {stage}
            inputs["present"] = golden["rollouts"][first]
        wanted = golden["pairs"][stage]
        training = method.training_rows(RUN, recipe, stage, done, inputs)
        if training is not None:
            assert text(training.rows) == text(wanted["rows"])
            made[stage] = training.rows
            continue
        pairs, counts = method.pairs(recipe, done, inputs)
        made[stage] = rows(pairs)
        assert text(made[stage]) == text(wanted["pairs"])
        assert dict.fromkeys(OUTCOMES, 0) | counts == wanted["counts"]
        assert text(method.monitors(recipe, done, inputs)) == text(wanted["monitors"])
        if "positives" in wanted:
            assert method.positives(RUN, recipe, stage, pairs) == (paths.positives(RUN, stage), wanted["positives"])
        if "replay" in wanted:
            earlier = {old: golden["pairs"].get(old, {"pairs": []})["pairs"] for old, _ in replays(recipe, stage)}
            assert text(rows(replay(recipe, stage, earlier))) == text(wanted["replay"])
        if "meta" in wanted:
            preferred, record = method.judge_preferences(recipe, stage, len(pairs), inputs)
            assert text(rows(judge_pair(preference, [], "") for preference in preferred)) == text(
                wanted["meta"]["pairs"]
            )
            known = {"prompts": len(inputs["meta"]), **wanted["meta"]["counts"], **wanted["meta"]["figures"]}
            assert record == known
