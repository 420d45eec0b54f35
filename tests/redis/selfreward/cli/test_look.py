"""`selfreward look` while the phase runs, whose results are in Redis until it ends."""

import json

from redis import Redis
from typer.testing import CliRunner

from selfreward.cli.main import app
from selfreward.loop.tasks import results_key


def test_what_is_done_so_far_is_shown(redis_url: str, store_root: str) -> None:
    rollout = {
        "key": "k",
        "run": "mine",
        "stage": "M2",
        "prompt_id": "prompts-00007",
        "prompt": [{"role": "user", "content": "Add."}],
        "policy_version": "policy@1",
        "responses": [{"text": "3"}],
    }
    with Redis.from_url(redis_url) as redis:
        redis.hset(results_key("mine", "M2", "rollouts"), "k", json.dumps(rollout))
    environment = {"SELFREWARD_REDIS_URL": redis_url, "SELFREWARD_ARTIFACTS": store_root}
    shown = CliRunner(env=environment).invoke(app, ["look", "mine", "M2"])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[0] == "prompts-00007  policy@1"
    assert shown.output.splitlines()[-1] == "1 of 1 prompts, so far"
    assert CliRunner(env=environment).invoke(app, ["look", "mine", "M3"]).exit_code == 1
