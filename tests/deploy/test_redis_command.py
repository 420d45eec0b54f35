"""How compose and Kubernetes start Redis: it asks for the password, and ends by itself when it is told to."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
import redis
import yaml
from redis.backoff import ConstantBackoff, NoBackoff
from redis.retry import Retry

from selfreward.processes.redis import redis_binary
from tests.support.places import ROOT

PASSWORD = "secret"


def commands(secrets: Path) -> dict[str, str]:
    """The shell's part of the command in each file."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["command"]
    objects = yaml.safe_load_all((ROOT / "k8s" / "base" / "redis.yaml").read_text())
    (stateful,) = [found for found in objects if found["kind"] == "StatefulSet"]
    (container,) = stateful["spec"]["template"]["spec"]["containers"]
    assert compose[:2] == container["command"][:2] == ["sh", "-c"]
    in_cluster = container["command"][2].replace("/run/secrets/selfreward", str(secrets))
    return {"compose": compose[2].replace("$$", "$"), "kubernetes": in_cluster}


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_redis_asks_for_its_password_and_ends_well_when_told(where: str, tmp_path: Path) -> None:
    (tmp_path / "redis_password").write_text(PASSWORD)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = f"--dir {tmp_path} --port {port}"
    command = commands(tmp_path)[where].replace("--dir /data", options)
    assert options in command
    found = Path(redis_binary())
    environment = {"PATH": f"{found.parent}:{os.environ['PATH']}", "REDISCLI_AUTH": PASSWORD}
    assert found.name == "redis-server"
    with subprocess.Popen(["/bin/sh", "-c", command], env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            patient = Retry(ConstantBackoff(0.05), 200, (redis.ConnectionError,))
            with redis.Redis(port=port, password=PASSWORD, retry=patient) as client:
                client.set("kept", 1)
                assert client.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
                # Three quarters of the 4 GiB that it may take.
                assert int(client.config_get("maxmemory")["maxmemory"]) == 3 << 30
            with (
                redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
                pytest.raises(redis.AuthenticationError),
            ):
                stranger.get("kept")
            server.terminate()
            assert server.wait(10) == 0
        finally:
            server.kill()
    assert any(file.stat().st_size for file in tmp_path.rglob("*aof*")), "the log was not written"
