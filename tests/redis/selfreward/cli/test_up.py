"""`selfreward up` with its real processes, on ports that are free, beside somebody else's Redis."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis

from selfreward.processes.child import free_port
from selfreward.processes.stack import PORTS
from tests.support.places import M0


def _up(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    ports = [f"--port={name}={free_port()}" for name in PORTS]
    command = [sys.executable, "-m", "selfreward", "up", "--folder", str(folder), *ports, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "SELFREWARD_ARTIFACTS"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_it_prints_where_everything_is_and_ends_with_a_signal(tmp_path: Path) -> None:
    with _up(tmp_path) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split() for _ in range(6)]
        urls = json.loads((tmp_path / "stack.json").read_text())["urls"]
        assert {line[0]: line[1] for line in said[:5]} == urls
        assert said[5][:3] == ["ready", "for", "runs;"]
        with Redis.from_url(urls["redis"]) as redis:
            assert redis.ping()
        process.send_signal(signal.SIGTERM)
        rest = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, ("stopped\n", ""))
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == [f"{name}.log" for name in sorted(PORTS)]


@pytest.mark.parametrize("key", ["", "a-key-of-the-test-that-is-long-enough"])
def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a key, reasons are told only to those who have it.
    if key:
        monkeypatch.setenv("SELFREWARD_API_KEY", key)
    model = tmp_path / "model"
    shutil.copytree(M0, model)
    (model / "model.safetensors").write_bytes(b"")
    process = _up(tmp_path / "stack", "--model", str(model))
    said, error = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "ready" not in said
    assert error.startswith(f"the generator serves nothing: SELFREWARD_MODEL={model}: ")
    assert error.count("\n") == 1


def test_a_redis_that_is_named_is_used_and_left_running(redis_url: str, tmp_path: Path) -> None:
    with _up(tmp_path, "--redis", redis_url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["redis", redis_url]
        while not process.stdout.readline().startswith("ready"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert not (tmp_path / "redis").exists()
    with Redis.from_url(redis_url) as redis:
        assert redis.ping()
