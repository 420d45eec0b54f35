"""The compose files: they hold together, ask for their secrets, and set nothing that a service does not know."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.__main__ import DEFAULT_PORT as ORCHESTRATOR_PORT
from services.generator.settings import DEFAULT_PORT as GENERATOR_PORT
from services.judge.settings import DEFAULT_PORT as JUDGE_PORT
from tests.deploy.known import unknown_settings

ROOT = Path(__file__).resolve().parents[2]
SECRETS = {"SELFREWARD_API_KEY": "k" * 24, "SELFREWARD_REDIS_PASSWORD": "p"}
ALL = {**SECRETS, "GRAFANA_PASSWORD": "p"}
OVERLAYS = ("gpu", "observability")


def compose(*files: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config` of the main file and overlays; it needs no Docker engine."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    chosen = [part for file in ("docker-compose.yml", *files) for part in ("--file", file)]
    command = [docker, "compose", *chosen, "--profile", "*", "--env-file", os.devnull, "config", "--format", "json"]
    variables = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


def services(*files: str, **environment: str) -> dict[str, dict[str, Any]]:
    """The services by name, with all variables filled in."""
    shown = compose(*files, **ALL, **environment)
    assert shown.returncode == 0, shown.stderr
    found: dict[str, dict[str, Any]] = json.loads(shown.stdout)["services"]
    return found


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_is_refused_with_the_remedy(missing: str) -> None:
    shown = compose(**{name: value for name, value in SECRETS.items() if name != missing})
    assert shown.returncode != 0
    assert missing in shown.stderr
    assert "make env" in shown.stderr


@pytest.mark.parametrize("overlays", [(), *[(f"docker-compose.{name}.yml",) for name in OVERLAYS]], ids=str)
def test_services_are_confined_and_set_only_what_there_is(overlays: tuple[str, ...]) -> None:
    for name, service in services(*overlays).items():
        assert not service["image"].endswith(":latest")
        assert ":" in service["image"], f"{name}: no tag"
        assert service.get("pull_policy") is None
        assert unknown_settings(service.get("environment", {})) == []
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        if "selfreward/" in service["image"] or name == "redis":
            assert service["read_only"] is True
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} lets other machines in"


def test_ports_are_the_ones_that_the_services_listen_on() -> None:
    ports = {name: [port["target"] for port in found.get("ports", [])] for name, found in services().items()}
    assert ports["generator"] == [GENERATOR_PORT]
    assert ports["judge"] == [JUDGE_PORT]
    assert ports["orchestrator"] == [ORCHESTRATOR_PORT]
    assert ports["redis"] == ports["trainer"] == []


def test_redis_keeps_everything() -> None:
    command = " ".join(services()["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_a_model_of_ones_own_reaches_whoever_reads_it() -> None:
    found = services(MODEL="/somewhere/model", SEED_DATA="/somewhere/seed")
    for name in ("generator", "trainer", "orchestrator"):
        mounts = {volume["target"]: volume for volume in found[name]["volumes"]}
        assert mounts["/model"]["source"] == "/somewhere/model"
        assert mounts["/model"]["read_only"] is True
    assert found["cli"]["environment"]["SELFREWARD_RECIPE__model"] == "/model"
    assert {"/app/runs/seed"} == {
        volume["target"] for volume in found["orchestrator"]["volumes"] if volume["source"] == "/somewhere/seed"
    }
