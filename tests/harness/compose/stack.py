"""The stack under docker compose, apart from any other one on this machine: its own project, secrets and data."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.places import ROOT

PROJECT = "selfreward-test"
_PATIENCE_S = 3600


@dataclass(frozen=True)
class ComposeStack:
    """A compose project whose settings and seed data lie in `folder`. Leaving it removes containers and volumes."""

    folder: Path

    def __enter__(self) -> "ComposeStack":
        seed = self.folder / "seed"
        seed.mkdir()
        # Containers read it as another user.
        self.folder.chmod(0o755)
        names = ("SELFREWARD_API_KEY", "SELFREWARD_REDIS_PASSWORD", "GRAFANA_PASSWORD")
        values = {**{name: secrets.token_urlsafe(32) for name in names}, "SEED_DATA": str(seed)}
        (self.folder / "env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
        return self

    def __exit__(self, *_: object) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "60", check=False)

    def command(self, *arguments: str) -> list[str]:
        """The command line of a compose command of this project."""
        env = str(self.folder / "env")
        return ["docker", "compose", "--project-name", PROJECT, "--env-file", env, "--progress", "plain", *arguments]

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run a compose command; returns its standard output. CalledProcessError when it fails."""
        made = subprocess.run(
            self.command(*arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=_PATIENCE_S,
            check=check,
        )
        return made.stdout

    def build(self, environment: Mapping[str, str]) -> None:
        """Build all images, one after the other: each wants all of this machine. `environment` is the build's own."""
        for service in (name for name, found in self._services().items() if "build" in found):
            command = self.command("build", service)
            # Its steps go to standard output, and only they say why it failed.
            subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, timeout=_PATIENCE_S, check=True)

    def up(self, **replicas: int) -> None:
        """Start everything, and return once all of it is healthy."""
        scale = [part for service, number in replicas.items() for part in ("--scale", f"{service}={number}")]
        self.compose("up", "--detach", "--wait", "--wait-timeout", str(_PATIENCE_S), *scale)

    def containers(self, service: str) -> list[str]:
        """Ids of a service's containers that run now."""
        return self.compose("ps", "--quiet", "--status", "running", service).split()

    def kill(self, container: str) -> None:
        """SIGKILL all that runs in a container, then start it again as it was."""
        docker("kill", container)
        docker("start", container)

    def image_sizes(self) -> dict[str, int]:
        """Bytes of the images that are ours, unpacked, by service."""
        images = {name: service["image"] for name, service in self._services().items() if "build" in service}
        return {name: int(docker("image", "inspect", "--format", "{{.Size}}", image)) for name, image in images.items()}

    def image(self, service: str) -> str:
        """The name of a service's image."""
        return str(self._services()[service]["image"])

    def _services(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))["services"]
        return found


def docker(*arguments: str) -> str:
    """Run a docker command; returns its standard output."""
    command = ["docker", *arguments]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=_PATIENCE_S, check=True)
    return made.stdout.strip()


def need_an_engine() -> None:
    """End the process with a plain word where no Docker engine answers."""
    command = ["docker", "info"]
    try:
        subprocess.run(command, capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        sys.exit("nothing was tested: no Docker engine answers `docker info`; start one")
