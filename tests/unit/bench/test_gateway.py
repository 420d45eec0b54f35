"""The benches measure services of their own, whatever the shell is set up for."""

import os
import sys
import time
from pathlib import Path

import httpx
import pytest

from bench.services import drop_settings
from selfreward.processes.child import free_port, log_tail, start_child, stop_child
from tests.support.hermetic import CLOSED


def test_a_shells_settings_do_not_reach_the_services_of_a_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = {"SELFREWARD_API_KEY": "secret", "SELFREWARD_JUDGE_RUBRICS": "/none", "SELFREWARD_PORT": "9"}
    monkeypatch.setattr(os, "environ", {**os.environ, **shell})
    port, log = free_port(), tmp_path / "judge.log"

    drop_settings()
    own = {"SELFREWARD_PORT": str(port), "SELFREWARD_REDIS_URL": f"redis://{CLOSED}/0"}
    judge = start_child([sys.executable, "-m", "services.judge"], log, own)

    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/v1/rubrics")
                break
            except httpx.ConnectError:
                assert judge.poll() is None, log_tail(log)
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert answer.status_code == 200, answer.text
    finally:
        stop_child(judge)
