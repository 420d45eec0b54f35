"""The compose files: they hold together, ask for their secrets, and set nothing that a service does not know."""

import json
import os
import shutil
import subprocess

import pytest

from orchestrator.settings import DEFAULT_PORT as ORCHESTRATOR_PORT
from services.generator.settings import DEFAULT_PORT as GENERATOR_PORT
from services.judge.settings import DEFAULT_PORT as JUDGE_PORT
from tests.deploy.compose_files import Missing, services
from tests.deploy.known import unknown_settings
from tests.support.places import ROOT

SECRETS = {"SELFREWARD_API_KEY": "k" * 24, "SELFREWARD_REDIS_PASSWORD": "p"}
ALL = {**SECRETS, "GRAFANA_PASSWORD": "p"}
FILES: tuple[tuple[str, ...], ...] = ((), ("gpu",), ("observability",))


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_is_refused_with_the_remedy(missing: str) -> None:
    with pytest.raises(Missing, match=rf"{missing}: .*make env"):
        services((), {name: value for name, value in SECRETS.items() if name != missing})


@pytest.mark.parametrize("overlays", FILES, ids=str)
def test_services_are_confined_and_set_only_what_there_is(overlays: tuple[str, ...]) -> None:
    for name, service in services(overlays, ALL).items():
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
    ports = {name: [port["target"] for port in found.get("ports", [])] for name, found in services((), ALL).items()}
    assert ports["generator"] == [GENERATOR_PORT]
    assert ports["judge"] == [JUDGE_PORT]
    assert ports["orchestrator"] == [ORCHESTRATOR_PORT]
    assert ports["redis"] == ports["trainer"] == []


def test_redis_keeps_everything() -> None:
    command = " ".join(services((), ALL)["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_a_model_of_ones_own_reaches_whoever_reads_it() -> None:
    found = services((), ALL | {"MODEL": "/somewhere/model", "SEED_DATA": "/somewhere/seed"})
    for name in ("generator", "trainer", "orchestrator"):
        mounts = {volume["target"]: volume for volume in found[name]["volumes"]}
        assert mounts["/model"]["source"] == "/somewhere/model"
        assert mounts["/model"]["read_only"] is True
    assert found["cli"]["environment"]["SELFREWARD_RECIPE__model"] == "/model"
    assert {"/app/runs/seed"} == {
        volume["target"] for volume in found["orchestrator"]["volumes"] if volume["source"] == "/somewhere/seed"
    }


def test_docker_compose_reads_the_files_alike() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed; its files were read without it")
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG")} | ALL
    for overlays in FILES:
        files = [f"--file=docker-compose{overlay}.yml" for overlay in ("", *(f".{name}" for name in overlays))]
        command = [docker, "compose", *files, "--profile", "*", "--env-file", os.devnull, "config", "--format", "json"]
        shown = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0, shown.stderr
        theirs = json.loads(shown.stdout.replace("$$", "$"))["services"]  # it shows dollars escaped
        ours = services(overlays, ALL)
        assert theirs.keys() == ours.keys()
        for name, service in ours.items():
            for key in ("image", "environment", "cap_drop", "security_opt", "read_only", "command"):
                assert service.get(key) == theirs[name].get(key), (name, key)
            for key, part in (("ports", "host_ip"), ("ports", "target"), ("volumes", "target")):
                assert [entry[part] for entry in service[key]] == [entry[part] for entry in theirs[name].get(key, [])]
