"""`python -m tests.harness.k8s`: a small run on the cluster that KUBECONFIG points at, while pods are killed.

Applies the overlay `cpu` into the namespace `selfreward`, which must not be there yet and is removed in the end, copies
the demo's model and a few rows of its data in, and runs the demo's recipe, cut down, by `k8s/run`. Pods are killed in
the middle. Then it looks at the run's end, at the Jobs that were made of its training jobs, and at what the auditor
says, and restarts every service under load. The images have to be where the cluster finds them (`make images`;
`--registry`). The record goes to evidence/k8s/. Without KUBECONFIG nothing is tested.
"""

import argparse
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from tests.deploy.manifests import Manifest
from tests.harness.k8s.cluster import NAMESPACE, Cluster
from tests.harness.k8s.objects import RUN, input_objects, loop_objects, run_objects, volumes
from tests.harness.k8s.older import NAMES_SINCE, sidecar_secret
from tests.harness.k8s.rolling import rolling_restart
from tests.harness.kills import LOOK, kill_at, places, planned, planned_of
from tests.support.places import M0, ROOT
from tests.support.small_recipe import small_recipe

_PATIENCE_S = 5400
_TRAINING_JOBS = 4
"""The base model, the baseline, M1 and M2."""
_CHECKPOINT = """
import pathlib, sys, time
while not any(pathlib.Path("/data/training/train").glob("*/checkpoints/checkpoint-*/complete")):
    time.sleep(0.1)
"""
"""A program that ends once a training job has a whole checkpoint; an ended job leaves none."""
_RESUMED = """
import json, pathlib
found = {}
for log in sorted(pathlib.Path("/data/training/train").glob("*/job.log")):
    lines = [json.loads(line) for line in log.read_text().splitlines() if '"resuming"' in line]
    found |= {log.parent.name: line["checkpoint"] for line in lines}
print(json.dumps(found))
"""
"""A program that prints from which checkpoint a training job went on, of those that did."""


def main() -> None:
    """Run, print and write the record; exit status 1 unless the run ended well and nothing was found or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--registry", default="", help="where the images are; default: on the nodes, by their own names"
    )
    parser.add_argument("--storage", type=Path, help="a folder of the only node, where no storage class makes volumes")
    parser.add_argument("--seed", type=int, default=0, help="draws which pods are killed (default 0)")
    parser.add_argument("--out", type=Path, default=ROOT / "evidence" / "k8s" / "report.json")
    parser.add_argument("--keep", action="store_true", help="leave everything there, to look at it")
    arguments = parser.parse_args()
    if not os.environ.get("KUBECONFIG"):
        print("not tested: KUBECONFIG names no cluster")
        return
    cluster = Cluster()
    if cluster.has("namespace", NAMESPACE):
        sys.exit(f"the namespace {NAMESPACE} is there already, and this test would remove it: take another cluster")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            seed = Path(scratch) / "seed"
            seed.mkdir()
            small_recipe(seed)
            minor = _prepare(cluster, arguments.registry, arguments.storage, seed)
            run = run_objects(minor, arguments.registry, seed)
            record = {"command": "python -m tests.harness.k8s", "kubernetes": f"1.{minor}", "seed": arguments.seed}
            record |= _loop(cluster, run, random.Random(arguments.seed))
        record["rolling_restart"] = rolling = rolling_restart(cluster, run)
    finally:
        if not arguments.keep:
            cluster.clear()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
    jobs = list(record["training_jobs"].values())
    ended_well = record["run"] == "Complete" and record["audit_status"] == 0 and record["killed"] == planned()
    trained = jobs == ["Complete"] * _TRAINING_JOBS and len(record["resumed"]) == planned_of("trainer")
    sys.exit(not (ended_well and trained and rolling["answered"] and not rolling["lost"]))


def _loop(cluster: Cluster, run: list[Manifest], draw: random.Random) -> dict[str, Any]:
    """One run to its end: how that was, seconds, who was killed, its Jobs, and what the auditor says."""
    killed: list[str] = []

    def kill(service: str) -> None:
        if service == "trainer":
            cluster.must("exec", "inputs", "--", "python", "-c", _CHECKPOINT)
        cluster.kill(service, draw)

    with _watching() as begun:
        killer = Thread(target=kill_at, args=(begun, kill, killed))
        killer.start()
        began = time.monotonic()
        cluster.apply(run)
        ended = cluster.wait_for_job(f"run-{RUN}", _PATIENCE_S)
        seconds = time.monotonic() - began
    killer.join()
    held = cluster.ready("orchestrator")[0]
    audit = cluster.run("exec", held, "--container=orchestrator", "--", "python", "-m", "selfreward", "audit", RUN)
    commit = ["git", "rev-parse", "--short=12", "HEAD"]
    return {
        "commit": subprocess.check_output(commit, cwd=ROOT, text=True).strip(),
        "run": ended,
        "run_s": round(seconds, 1),
        "killed": killed,
        "training_jobs": cluster.training_jobs(),
        "resumed": json.loads(cluster.must("exec", "inputs", "--", "python", "-c", _RESUMED)),
        "audit_status": audit.returncode,
        "audit": (audit.stdout + audit.stderr).splitlines(),
    }


@contextmanager
def _watching() -> Iterator[Iterator[tuple[str, str]]]:
    """Stage and phase of the run as they begin, from the pod that data was copied through, which nobody kills."""
    look = ["exec", "inputs", "--", "python", "-uc", LOOK, f"/data/artifacts/runs/{RUN}/run.json"]
    command = ["kubectl", "--namespace", NAMESPACE, *look]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as seen:
        assert seen.stdout is not None
        try:
            yield places(seen.stdout)
        finally:
            seen.terminate()


def _prepare(cluster: Cluster, registry: str, storage: Path | None, seed: Path) -> int:
    """Everything up to a loop that is ready: secrets, volumes, the loop, its inputs. N of Kubernetes 1.N."""
    minor = cluster.minor_version()
    cluster.must("create", "namespace", NAMESPACE, namespaced=False)
    password = secrets.token_hex(24)
    values = {"selfreward_api_key": secrets.token_hex(24), "redis_password": password}
    values["selfreward_redis_url"] = f"redis://:{password}@redis:6379/0"
    literals = [f"--from-literal={name}={value}" for name, value in values.items()]
    cluster.must("create", "secret", "generic", "selfreward", *literals)
    if minor < NAMES_SINCE:
        cluster.must("create", *sidecar_secret(seed.parent))
    if storage is not None:
        _make_folders(storage)
        cluster.apply(volumes(storage))
    cluster.apply(loop_objects(minor, registry))
    cluster.apply(input_objects(registry))
    cluster.must("wait", "--for=condition=Ready", "pod/inputs", "--timeout=600s")
    cluster.must("cp", str(M0), "inputs:/data/inputs/model")
    cluster.must("cp", str(seed), "inputs:/data/inputs/seed")
    for name in ("judge", "orchestrator", "generator"):
        cluster.must("rollout", "status", f"deployment/{name}", "--timeout=1800s")
    return minor


def _make_folders(storage: Path) -> None:
    """Such a volume belongs to whoever made its folder, and root makes what a pod finds missing: so all is there."""
    for name in ("data/artifacts", "data/inputs", "data/training", "redis"):
        (storage / name).mkdir(parents=True, exist_ok=True)
    for folder in (storage, *storage.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o777)


if __name__ == "__main__":
    main()
