"""The orchestrator's HTTP API over real HTTP, with a real Redis and the real judge; no run gets as far as an engine."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from orchestrator.app import create_app
from orchestrator.settings import OrchestratorSettings
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.files.rows import read_rows
from selfreward.loop.load import RunRecipe
from selfreward.processes.child import free_port, start_child, stop_child
from selfreward.processes.redis import start_redis
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from services.judge.app import create_app as create_judge
from services.judge.settings import JudgeSettings
from tests.unit.selfreward.cli import test_main as test_cli
from tests.unit.selfreward.files import test_export

KEY = "a key"


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """An application on a free loopback port, in a thread."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@contextmanager
def orchestrator(redis_url: str, store_root: str, **settings: Any) -> Iterator[str]:
    """Address of an orchestrator with a judge and no engine."""
    nothing = f"http://127.0.0.1:{free_port()}"
    with served(create_judge(JudgeSettings.model_validate({"generator_url": nothing, "api_key": KEY}))) as judge:
        addresses = {"redis_url": redis_url, "artifacts": store_root, "generator_url": nothing, "judge_url": judge}
        chosen = {**addresses, "api_key": KEY, "poll_s": 0.05, "lease_s": 1, **settings}
        with served(create_app(OrchestratorSettings.model_validate(chosen))) as url:
            yield url


@pytest.fixture
def address(redis_url: str, store_root: str) -> Iterator[str]:
    with orchestrator(redis_url, store_root) as url:
        yield url


@pytest.fixture
def client(address: str) -> Iterator[OrchestratorClient]:
    with OrchestratorClient(address, KEY) as connected:
        yield connected


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return small_recipe(tmp_path)


def small_recipe(folder: Path) -> Recipe:
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


def test_a_run_is_started_once_followed_stopped_and_resumed(
    client: OrchestratorClient, recipe: Recipe, store_root: str
) -> None:
    started = client.start(recipe, "one")
    assert (started["run"], started["recipe_hash"]) == ("one", recipe.hash)
    assert client.start(recipe, "one")["created_at"] == started["created_at"]
    wait_for(client, "one", state="running", stage="M0", phase="train")
    kept = list(ArtifactStore(store_root).read_jsonl("runs/one/data/heldout.jsonl"))
    assert kept == [{"prompt_id": "heldout-00000", "prompt": [{"role": "user", "content": "h0"}]}]
    client.stop("one")
    wait_for(client, "one", state="stopped")
    events = list(client.events("one"))
    assert events[-1]["state"] == "stopped"
    client.resume("one")
    wait_for(client, "one", state="running", phase="train")
    client.stop("one")
    assert list(client.events("one"))[-1]["state"] == "stopped"


def test_one_run_at_a_time_and_the_others_wait_in_line(client: OrchestratorClient, recipe: Recipe) -> None:
    client.start(recipe, "one")
    wait_for(client, "one", state="running")
    client.start(recipe, "two")
    time.sleep(0.3)
    assert [(row["run"], row["state"]) for row in client.runs()] == [("two", "queued"), ("one", "running")]
    client.stop("one")
    wait_for(client, "two", state="running")
    client.stop("two")
    wait_for(client, "two", state="stopped")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampling": {"m": 8}}, "sampling.m = 8: unknown key"),
        ({"judging": {"rubric": "nine"}}, "judging.rubric = 'nine'"),
        ({"model": "nowhere"}, "model = 'nowhere' is not a folder"),
        ({"evaluation": {"prompts": 9}}, "set evaluation.prompts=1"),
        ({"data": {"ift": "gone.jsonl", "heldout": "h"}}, "data.eft is missing"),
    ],
)
def test_mistakes_are_refused_before_any_work(
    address: str, client: OrchestratorClient, recipe: Recipe, change: dict[str, Any], said: str
) -> None:
    body = {"recipe": {**recipe.model_dump(mode="json"), **change}, "run": "bad"}
    answer = httpx.post(f"{address}/v1/runs", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 422
    assert said in answer.json()["error"]["message"]
    assert client.runs() == []


def test_errors_name_what_is_wrong(address: str, client: OrchestratorClient, recipe: Recipe) -> None:
    with pytest.raises(ServiceError, match=r"run = '\.\./up': String should match pattern"):
        client.start(recipe, "../up")
    client.start(recipe, "one")
    with pytest.raises(ServiceError, match="HTTP 409: run 'one' exists with another recipe"):
        client.start(recipe.model_copy(update={"seed": 1}), "one")
    with pytest.raises(ServiceError, match="HTTP 404: run 'none' does not exist"):
        client.run("none")
    with pytest.raises(ServiceError, match=r"HTTP 404: runs/one/pairs/M2\.jsonl does not exist"):
        client.export("one", "M2")
    with OrchestratorClient(address, "wrong") as stranger, pytest.raises(ServiceError, match="HTTP 401"):
        stranger.runs()
    headers = {"Authorization": f"Bearer {KEY}", "Last-Event-ID": "x"}
    assert "is not an id" in httpx.get(f"{address}/v1/runs/one/events", headers=headers).json()["error"]["message"]


def test_exported_pairs_are_a_file_of_json_lines_or_parquet(
    address: str, client: OrchestratorClient, recipe: Recipe, store_root: str, tmp_path: Path
) -> None:
    client.start(recipe, "one")
    pair = test_export.PAIR.model_dump(mode="json")
    ArtifactStore(store_root).write_jsonl("runs/one/pairs/M2.jsonl", [pair])
    (row,) = map(json.loads, client.export("one", "M2").splitlines())
    assert row == {**pair, "margin": 2.5}
    where = {"SELFREWARD_ORCHESTRATOR_URL": address, "SELFREWARD_API_KEY": KEY}
    done = test_cli.command("export", "one", "--out", str(tmp_path / "pairs.parquet"), **where)
    assert done.returncode == 0, done.stderr
    (of_parquet,) = read_rows(tmp_path / "pairs.parquet")
    assert of_parquet.values == row


def test_health_and_metrics_need_no_key(address: str) -> None:
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{address}/readyz").status_code == 200
    page = httpx.get(f"{address}/metrics").text
    assert 'selfreward_queue_length{stream="rollouts"} 0.0' in page
    assert "selfreward_pairs_total" in page


def test_the_service_ends_on_sigterm_while_redis_is_away(tmp_path: Path) -> None:
    redis_port, port = free_port(), free_port()
    redis = start_redis(tmp_path / "redis", redis_port)
    settings = {"REDIS_URL": f"redis://127.0.0.1:{redis_port}/0", "ARTIFACTS": str(tmp_path), "PORT": str(port)}
    environment = {f"SELFREWARD_{name}": value for name, value in settings.items()}
    service = start_child([sys.executable, "-m", "orchestrator"], tmp_path / "log", environment)
    try:
        deadline = time.monotonic() + 60
        while "lease taken" not in (tmp_path / "log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        redis.kill()
        redis.wait()
        time.sleep(4)
        service.terminate()
        service.wait(timeout=30)
        assert "Application shutdown complete" in (tmp_path / "log").read_text()
    finally:
        stop_child(service, grace=0)
        redis.kill()
        redis.wait()
