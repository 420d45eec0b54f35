"""The services that a bench starts: their settings, when they are ready, and which commit they are."""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

import aiohttp

from selfreward.processes.child import log_tail

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "examples" / "worlds" / "countdown" / "m0"


def drop_settings() -> None:
    """Remove `SELFREWARD_*` from the environment of this process, which the services that it starts inherit.

    The settings of a shell, above all an API key, are for other services.
    """
    for name in [name for name in os.environ if name.startswith("SELFREWARD_")]:
        del os.environ[name]


def engine_url(log: Path, timeout: float = 180.0) -> str:
    """The address of the generator's vLLM child, from the generator's log.

    Raises RuntimeError when the child does not start within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines() if log.exists() else []:
            if line.startswith("{") and json.loads(line)["message"] == "engine serves":
                return str(json.loads(line)["url"])
        time.sleep(0.2)
    raise RuntimeError(f"the engine did not start in {timeout:g} s; see {log}")


async def until_ready(url: str, log: Path, seconds: float = 60.0) -> None:
    """Wait until a service is ready. Raises RuntimeError with the end of its log after `seconds`."""
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < deadline:
            try:
                async with http.get(f"{url}/readyz") as reply:
                    if reply.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.2)
    raise RuntimeError(f"{url} is not ready after {seconds:g} s; {log} ends:\n{log_tail(log)}")


def commit() -> str:
    """The commit that is measured; with `-dirty` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
