"""Keeps tests to what they made themselves, away from servers, folders and settings of the person who runs them."""

import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CLOSED = "127.0.0.1:9"
"""An address where nothing listens."""
NO_FOLDER = "/dev/null"
"""Below it nothing can be read or written, not even by root."""
DEFAULT_PORTS = {"redis": 6379, "generator": 8000, "judge": 8001, "orchestrator": 8002, "trainer": 8003}
"""Where a developer's own stack listens (`selfreward up`)."""
_OF_THE_SHELL = ("SELFREWARD_", "AWS_", "OTEL_", "OPENAI_", "HF_", "PET_", "XDG_", "KUBECONFIG", "REDISCLI_AUTH")


def environment(shell: Mapping[str, str], home: Path) -> dict[str, str]:
    """What tests and their child processes get instead of the shell's environment."""
    kept = {
        name: value
        for name, value in shell.items()
        if not name.startswith(_OF_THE_SHELL) and not name.lower().endswith("_proxy")
    }
    return kept | {
        "HOME": str(home),
        # Docker's plugins, such as compose, may be in the home folder.
        "DOCKER_CONFIG": shell.get("DOCKER_CONFIG", str(Path(shell.get("HOME", "/")) / ".docker")),
        "HF_HUB_OFFLINE": "1",
        "SELFREWARD_REDIS_URL": f"redis://{CLOSED}/0",
        "SELFREWARD_GENERATOR_URL": f"http://{CLOSED}",
        "SELFREWARD_JUDGE_URL": f"http://{CLOSED}",
        "SELFREWARD_ORCHESTRATOR_URL": f"http://{CLOSED}",
        "SELFREWARD_ARTIFACTS": f"{NO_FOLDER}/artifacts",
        "SELFREWARD_WORK_DIR": f"{NO_FOLDER}/work",
    }


def is_foreign(address: Any) -> bool:
    """Whether a socket's address is on another machine or is one where a developer's own stack listens."""
    if not isinstance(address, tuple):  # a Unix socket's path
        return False
    host, port = address[:2]
    if port in DEFAULT_PORTS.values():
        return True
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return bool(host != "localhost")


@contextmanager
def foreign_connections() -> Iterator[list[Any]]:
    """Foreign addresses that this process connects to: each is refused, and listed here."""
    tried: list[Any] = []

    def refusing(connect: Any) -> Any:
        def connect_unless_foreign(self: socket.socket, address: Any) -> Any:
            if is_foreign(address):
                tried.append(address)
                raise ConnectionRefusedError(f"tests must not connect to {address}")
            return connect(self, address)

        return connect_unless_foreign

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, refusing(getattr(socket.socket, name)))
        yield tried


def isolate(home: Path) -> None:
    """Give this process and its children the tests' environment."""
    changed = environment(os.environ, home)
    for name in os.environ.keys() - changed.keys():
        del os.environ[name]
    os.environ.update(changed)
