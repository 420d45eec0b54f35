"""The orchestrator's HTTP API over real HTTP, with a real Redis and the real judge; no run gets as far as an engine."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from selfreward.cli import main as cli
from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.files.rows import read_rows
from selfreward.processes.child import free_port, start_child, stop_child
from selfreward.processes.redis import start_redis
from selfreward.recipe.recipe import Recipe
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import pair
from tests.support.orchestrator_service import KEY, files_recipe, orchestrator, wait_for


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
    return files_recipe(tmp_path)


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
        ({"judging": {"rubric": "../../healthz"}}, "judging.rubric = '../../healthz'"),
        ({"judging": {"rubric": "countdown?x"}}, "judging.rubric = 'countdown?x'"),
        ({"judging": {"rubric": "\0"}}, "judging.rubric = '\\x00'"),
        ({"seed": 2**40}, "seed = 1099511627776"),
        ({"seed": -1}, "seed = -1"),
        ({"trainer": {"world_size": 10**9}}, "trainer.world_size = 1000000000"),
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


def test_a_row_that_the_base_models_chat_template_refuses_is_named_before_any_work(
    client: OrchestratorClient, recipe: Recipe
) -> None:
    template = "{% if messages[0].content == 'p1' %}{{ raise_exception('no p1') }}{% endif %}"
    (Path(recipe.model) / "chat_template.jinja").write_text(template)
    with pytest.raises(ServiceError, match=r"HTTP 422: data\.prompts: .*: row 2: the chat template .* it: no p1"):
        client.start(recipe, "bad")
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
    row_of = pair().model_dump(mode="json")
    ArtifactStore(store_root).write_jsonl("runs/one/pairs/M2.jsonl", [row_of])
    (row,) = map(json.loads, client.export("one", "M2").splitlines())
    assert row == {**row_of, "margin": 2.5}
    where = {"SELFREWARD_ORCHESTRATOR_URL": address, "SELFREWARD_API_KEY": KEY}
    done = CliRunner(env=where).invoke(cli.app, ["export", "one", "--out", str(tmp_path / "pairs.parquet")])
    assert done.exit_code == 0, done.output
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


def test_a_follower_too_many_is_told_to_come_again(redis_url: str, store_root: str, recipe: Recipe) -> None:
    with orchestrator(redis_url, store_root, max_followers=2) as address:
        with OrchestratorClient(address, KEY) as client:
            client.start(recipe, "one")
        headers = {"Authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=address, headers=headers, timeout=20, trust_env=False) as http:
            with http.stream("GET", "/v1/runs/one/events"), http.stream("GET", "/v1/runs/one/events") as second:
                assert second.status_code == 200
                third = http.get("/v1/runs/one/events")
                assert (third.status_code, third.json()["error"]["code"]) == (429, "too_many_followers")
                assert int(third.headers["retry-after"]) > 0
            deadline = time.monotonic() + 20
            while True:
                with http.stream("GET", "/v1/runs/one/events") as again:
                    if again.status_code == 200:
                        break
                assert time.monotonic() < deadline
                time.sleep(0.1)


def test_a_run_that_has_ended_is_deleted_and_its_artifacts_guard_its_id(
    client: OrchestratorClient, recipe: Recipe, store_root: str
) -> None:
    client.start(recipe, "one")
    wait_for(client, "one", state="running", phase="train")
    with pytest.raises(ServiceError, match="has not ended: stop it") as refused:
        client.delete("one")
    assert refused.value.status == 409
    client.stop("one")
    wait_for(client, "one", state="stopped")
    deadline = time.monotonic() + 20
    while client.runs():
        with contextlib.suppress(ServiceError):  # its end may not be told yet
            client.delete("one")
        assert time.monotonic() < deadline
    with pytest.raises(ServiceError) as unknown:
        client.delete("one")
    assert unknown.value.status == 404
    assert ArtifactStore(store_root).exists("runs/one/run.json")
    other = recipe.model_copy(update={"seed": recipe.seed + 1})
    with pytest.raises(ServiceError, match="there are artifacts of another run 'one'"):
        client.start(other, "one")
    client.start(recipe, "one")


def test_runs_come_in_pages(address: str, client: OrchestratorClient, recipe: Recipe) -> None:
    for name in ("one", "two", "three"):
        client.start(recipe, name)
    headers = {"Authorization": f"Bearer {KEY}"}
    first = httpx.get(f"{address}/v1/runs?limit=2", headers=headers).json()
    assert ([row["run"] for row in first["data"]], first["next"]) == (["three", "two"], "two")
    second = httpx.get(f"{address}/v1/runs?limit=2&after=two", headers=headers).json()
    assert ([row["run"] for row in second["data"]], second["next"]) == (["one"], None)
    assert httpx.get(f"{address}/v1/runs?after=none", headers=headers).status_code == 404
    assert len(client.runs()) == 3
