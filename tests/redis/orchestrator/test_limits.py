"""What the orchestrator does not take on: long bodies, runs beyond the quotas. Real Redis, real judge, real HTTP."""

from pathlib import Path

import httpx
import pytest

from selfreward.client.http import ServiceError
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.recipe.recipe import Recipe
from tests.support.orchestrator_service import KEY, files_recipe, orchestrator, wait_for


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return files_recipe(tmp_path)


@pytest.mark.parametrize("announced", [True, False])
def test_a_long_body_is_refused_and_a_short_one_is_not(
    redis_url: str, store_root: str, recipe: Recipe, announced: bool
) -> None:
    with orchestrator(redis_url, store_root, max_recipe_bytes=8192) as url:
        body = b'{"run": "' + b"a" * 9000 + b'"}'
        content = body if announced else iter([body[:5000], body[5000:]])
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        answer = httpx.post(f"{url}/v1/runs", content=content, headers=headers)
        assert answer.status_code == 413
        assert "more than 8192 bytes" in answer.json()["error"]["message"]
        assert "SELFREWARD_MAX_RECIPE_BYTES" in answer.json()["error"]["message"]
        assert httpx.post(f"{url}/v1/runs", content=body).status_code == 401
        with OrchestratorClient(url, KEY) as client:
            assert client.start(recipe, "one")["run"] == "one"


@pytest.mark.parametrize(
    ("setting", "bound", "said"),
    [
        ("max_run_prompts", 1, "HTTP 422: loop.iterations x prompts.per_iteration = 2, a run may answer 1 prompts"),
        ("max_run_tokens", 1000, r"HTTP 422: the run may generate up to \d+ tokens .* a run may generate 1000: lower"),
    ],
)
def test_a_recipe_beyond_a_quota_is_refused_before_any_work(
    redis_url: str, store_root: str, recipe: Recipe, setting: str, bound: int, said: str
) -> None:
    with orchestrator(redis_url, store_root, **{setting: bound}) as url, OrchestratorClient(url, KEY) as client:
        with pytest.raises(ServiceError, match=said):
            client.start(recipe, "one")
        assert client.runs() == []
    assert not Path(store_root, "runs").exists()


def test_a_seed_file_that_is_too_long_is_not_read(
    redis_url: str, store_root: str, recipe: Recipe, tmp_path: Path
) -> None:
    long = tmp_path / "long.jsonl"
    with long.open("wb") as stream:
        stream.truncate((1 << 20) + 1)
    with orchestrator(redis_url, store_root, max_seed_mib=1) as url, OrchestratorClient(url, KEY) as client:
        data = recipe.data.model_copy(update={"prompts": str(long)})
        with pytest.raises(
            ServiceError, match=f"HTTP 422: data.prompts = '{long}' has 1.0 MiB, a seed file may have 1"
        ):
            client.start(recipe.model_copy(update={"data": data}), "one")
        assert client.runs() == []


def test_a_run_is_not_taken_in_when_its_data_would_fill_the_disk(
    redis_url: str, store_root: str, recipe: Recipe
) -> None:
    more_than_any = 1 << 40
    with (
        orchestrator(redis_url, store_root, min_free_disk=more_than_any) as url,
        OrchestratorClient(url, KEY) as client,
    ):
        with pytest.raises(ServiceError, match=rf"HTTP 507: disk: \d+ MiB free below {more_than_any} at {store_root}"):
            client.start(recipe, "one")
        assert client.runs() == []


def test_so_many_runs_wait_and_no_more_until_one_has_ended(redis_url: str, store_root: str, recipe: Recipe) -> None:
    with orchestrator(redis_url, store_root, max_unfinished_runs=2) as url, OrchestratorClient(url, KEY) as client:
        for run in ("one", "two"):
            client.start(recipe, run)
        with pytest.raises(ServiceError, match="HTTP 429: 2 runs are queued or running, 2 are allowed") as refused:
            client.start(recipe, "three")
        assert refused.value.status == 429
        assert client.start(recipe, "two")["run"] == "two"
        client.stop("two")
        wait_for(client, "two", state="stopped")
        client.start(recipe, "three")
        with pytest.raises(ServiceError, match="HTTP 429"):
            client.resume("two")
        client.resume("three")
        body = {"recipe": recipe.model_dump(mode="json"), "run": "four"}
        answer = httpx.post(f"{url}/v1/runs", json=body, headers={"Authorization": f"Bearer {KEY}"})
        assert int(answer.headers["retry-after"]) > 0
