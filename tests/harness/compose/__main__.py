"""`python -m tests.harness.compose`: a small run under docker compose, with replicas, while containers are killed.

Builds the images and holds the light ones to their size, brings the stack up with several judges, orchestrators and
generators, runs the demo's recipe cut down to a few rows by the command line's container, kills containers in the
middle, and has the auditor look for what was lost, counted twice or left half-written. Then every replica is restarted
in turn under load. The record goes to evidence/compose/.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from tests.harness.compose.offline import ensure_bases, reachable_wheels
from tests.harness.compose.rolling import rolling_restart
from tests.harness.compose.stack import PROJECT, ComposeStack, docker, need_an_engine
from tests.harness.kills import LOOK, kill_at, places, planned
from tests.support.places import ROOT
from tests.support.small_recipe import OVERRIDES, small_recipe

RUN = "small"
REPLICAS = {"judge": 3, "orchestrator": 3, "generator": 2}
LIGHT_MB = {"judge": 300, "orchestrator": 300}
"""Unpacked, these images stay below so many megabytes."""
_TIMEOUT_S = 5400


def main() -> None:
    """Run, print and write the record; exit status 1 unless the run ended well and nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="draws which containers are killed (default 0)")
    parser.add_argument("--out", type=Path, default=ROOT / "evidence" / "compose" / "report.json")
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    arguments = parser.parse_args()
    need_an_engine()
    with tempfile.TemporaryDirectory() as scratch, ComposeStack(Path(scratch)) as stack:
        small_recipe(stack.folder / "seed")
        if not arguments.no_build:
            ensure_bases()
            with reachable_wheels() as wheels:
                stack.build(wheels)
        sizes = {name: round(size / 1e6) for name, size in stack.image_sizes().items()}
        if heavy := {name: sizes[name] for name, most in LIGHT_MB.items() if sizes[name] >= most}:
            sys.exit(f"too large in MB: {heavy}, allowed is less than {LIGHT_MB}: see what their lock files brought in")
        began = time.monotonic()
        stack.up(**REPLICAS)
        healthy = time.monotonic() - began
        print(f"healthy after {healthy:.0f} s: {REPLICAS}", flush=True)
        record = loop(stack, random.Random(arguments.seed))
        record["rolling_restart"] = rolling = rolling_restart(stack)
        record |= {"seed": arguments.seed, "replicas": REPLICAS, "healthy_s": round(healthy, 1)}
        record["image_mb"] = sizes
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    ended_well = record["state"] == "done" and record["audit_status"] == 0 and record["killed"] == planned()
    sys.exit(not (ended_well and rolling["answered"] and not rolling["lost"]))


def loop(stack: ComposeStack, draw: random.Random) -> dict[str, Any]:
    """One run to its end: seconds, state, who was killed, and what the auditor says."""
    data = [f"data.{file.stem}=runs/seed/{file.name}" for file in sorted((stack.folder / "seed").iterdir())]
    command = ["run", "--rm", "--no-TTY", "cli", "run", "recipes/countdown.toml", "--run", RUN, *data, *OVERRIDES]
    killed: list[str] = []
    began = time.monotonic()

    def kill(service: str) -> None:
        stack.kill(draw.choice(stack.containers(service)))

    with subprocess.Popen(stack.command(*command), cwd=ROOT) as cli, watching(stack) as begun:
        killer = Thread(target=kill_at, args=(begun, kill, killed))
        killer.start()
        try:
            cli.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            cli.terminate()
    killer.join()
    seconds = time.monotonic() - began
    held = stack.containers("orchestrator")[0]
    check = ["docker", "exec", held, "python", "-m", "selfreward", "audit", RUN]
    audit = subprocess.run(check, capture_output=True, text=True, timeout=300)
    commit = ["git", "rev-parse", "--short=12", "HEAD"]
    return {
        "command": "python -m tests.harness.compose",
        "commit": subprocess.check_output(commit, cwd=ROOT, text=True).strip(),
        "state": "done" if cli.returncode == 0 else f"the command line ended with status {cli.returncode}",
        "run_s": round(seconds, 1),
        "killed": killed,
        "audit_status": audit.returncode,
        "audit": (audit.stdout + audit.stderr).splitlines(),
    }


@contextmanager
def watching(stack: ComposeStack) -> Iterator[Iterator[tuple[str, str]]]:
    """Stage and phase of the run as they begin, from a container of its own, which nobody kills."""
    volume, name = f"{PROJECT}_artifacts:/artifacts:ro", f"{PROJECT}-watch"
    look = ["docker", "run", "--rm", "--name", name, "--volume", volume, "--entrypoint", "python"]
    with subprocess.Popen(
        [*look, stack.image("orchestrator"), "-uc", LOOK, f"/artifacts/runs/{RUN}/run.json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as seen:
        assert seen.stdout is not None
        try:
            yield places(seen.stdout)
        finally:
            docker("stop", "--time", "1", name)


if __name__ == "__main__":
    main()
