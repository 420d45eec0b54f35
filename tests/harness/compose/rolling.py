"""A rolling restart of every service under load: one replica after the other, each waited for."""

import json
import time
from typing import Any

from tests.harness.compose.stack import ComposeStack, docker
from tests.support.places import ROOT

SERVICES = ("judge", "generator", "orchestrator", "redis")
_HEALTHY_S = 1800


def rolling_restart(stack: ComposeStack) -> dict[str, Any]:
    """Requests answered and lost while each replica of each service was restarted, and for how long that took."""
    load = stack.compose(
        "run",
        "--detach",
        "--no-deps",
        "--volume",
        f"{ROOT / 'tests' / 'harness' / 'load.py'}:/app/load.py:ro",
        "--entrypoint",
        "python",
        "cli",
        "load.py",
    ).strip()
    time.sleep(10)
    began = time.monotonic()
    restarted = 0
    for service in SERVICES:
        for container in stack.containers(service):
            docker("restart", "--time", "60", container)
            _wait_healthy(container)
            restarted += 1
    seconds = time.monotonic() - began
    docker("stop", "--time", "900", load)
    counts = json.loads(docker("logs", load).splitlines()[-1])
    docker("rm", load)
    return {"restarted": restarted, "seconds": round(seconds, 1), "answered": 0, "lost": 0, **counts}


def _wait_healthy(container: str) -> None:
    deadline = time.monotonic() + _HEALTHY_S
    while (state := docker("inspect", "--format", "{{.State.Health.Status}}", container)) != "healthy":
        if time.monotonic() > deadline:
            raise TimeoutError(f"container {container} is {state} after {_HEALTHY_S} s: docker logs {container}")
        time.sleep(1)
