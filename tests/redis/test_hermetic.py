"""No test reaches a server, a folder or a setting of the person who runs the tests."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

RISKY = [
    "tests/unit/services/trainer/algorithms/test_rewards.py",  # a judge that is built with nothing but defaults
    "tests/unit/bench/test_gateway.py",  # a judge's process without any setting
    "tests/redis/orchestrator/worker/test_worker.py",  # a judge whose cached answers would be counted
    "tests/unit/selfreward/cli/test_main.py",  # commands that go to the address of the settings
]


def own_network() -> list[str]:
    """A command that runs another in a network of its own; skips where that is not allowed."""
    unshare = shutil.which("unshare")
    command = [str(unshare), "--user", "--map-root-user", "--net"]
    if unshare is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("networks of one's own (unshare --user --net) are not allowed here")
    return command


def test_somebody_elses_servers_on_the_default_ports_are_left_alone(tmp_path: Path) -> None:
    command = [*own_network(), sys.executable, "-m", "tests.support.taken_ports", str(tmp_path), *RISKY]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["status"] == 0, report["output"]
    assert not any(report["touched"].values()), report["touched"]
