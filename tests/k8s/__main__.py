"""`python -m tests.k8s`: a small run on the cluster that KUBECONFIG points at; without one it is skipped.

Applies the overlay `cpu` into the namespace `selfreward`, which must not be there yet and is removed in the end, copies
the demo's model and a few rows of its data in, and runs the demo's recipe, cut down, by `k8s/run`. Then it looks at the
run's end, at the Jobs that were made of its training jobs, and at what the auditor says. The images have to be where
the cluster finds them (`make images`; `--registry`). The record is printed as JSON.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.k8s.cluster import NAMESPACE, Cluster
from tests.k8s.objects import JOBS_SINCE, RUN, input_objects, loop_objects, run_objects, volumes
from tests.loop.small import ROOT, small_recipe

_PATIENCE_S = 5400


def main() -> None:
    """Run, print the record; exit status 1 unless the run ended well, and its jobs and the auditor agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--registry", default="", help="where the images are; default: on the nodes, by their own names"
    )
    parser.add_argument("--storage", type=Path, help="a folder of the only node, where no storage class makes volumes")
    parser.add_argument("--keep", action="store_true", help="leave everything there, to look at it")
    arguments = parser.parse_args()
    if not os.environ.get("KUBECONFIG"):
        print("not tested: KUBECONFIG names no cluster")
        return
    cluster = Cluster()
    minor = cluster.minor_version()
    if cluster.has("namespace", NAMESPACE):
        sys.exit(f"the namespace {NAMESPACE} is there already, and this test would remove it: take another cluster")
    try:
        record = _loop(cluster, minor, arguments.registry, arguments.storage)
    finally:
        if not arguments.keep:
            cluster.clear()
    print(json.dumps(record, indent=1))
    sys.exit(not record["passed"])


def _loop(cluster: Cluster, minor: int, registry: str, storage: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        seed = Path(scratch) / "seed"
        seed.mkdir()
        small_recipe(seed)
        _prepare(cluster, minor, registry, storage, seed)
        began = time.monotonic()
        cluster.apply(run_objects(registry, seed))
        ended = cluster.wait_for_job(f"run-{RUN}", _PATIENCE_S)
        seconds = time.monotonic() - began
    audit = cluster.run("exec", "deployment/orchestrator", "--", "python", "-m", "orchestrator.audit", RUN)
    made = cluster.training_jobs()
    # The base model, the baseline, M1 and M2; from a Kubernetes that can make them.
    expected = 4 if minor >= JOBS_SINCE else 0
    return {
        "command": "python -m tests.k8s",
        "kubernetes": f"1.{minor}",
        "run": ended,
        "run_s": round(seconds, 1),
        "training_jobs": made,
        "audit_status": audit.returncode,
        "audit": (audit.stdout + audit.stderr).splitlines(),
        "passed": ended == "Complete"
        and audit.returncode == 0
        and len(made) >= expected
        and set(made.values()) <= {"Complete"},
    }


def _prepare(cluster: Cluster, minor: int, registry: str, storage: Path | None, seed: Path) -> None:
    """Everything up to a loop that is ready: secrets, volumes, the loop, its inputs."""
    cluster.must("create", "namespace", NAMESPACE, namespaced=False)
    password = secrets.token_hex(24)
    values = {"selfreward_api_key": secrets.token_hex(24), "redis_password": password}
    values["selfreward_redis_url"] = f"redis://:{password}@redis:6379/0"
    literals = [f"--from-literal={name}={value}" for name, value in values.items()]
    cluster.must("create", "secret", "generic", "selfreward", *literals)
    if storage is not None:
        _make_folders(storage)
        cluster.apply(volumes(storage))
    cluster.apply(loop_objects(minor, registry))
    cluster.apply(input_objects(registry))
    cluster.must("wait", "--for=condition=Ready", "pod/inputs", "--timeout=600s")
    cluster.must("cp", str(ROOT / "examples" / "countdown" / "m0"), "inputs:/data/inputs/model")
    cluster.must("cp", str(seed), "inputs:/data/inputs/seed")
    cluster.must("delete", "pod", "inputs", "--wait=true")
    for name in ("judge", "orchestrator", "generator"):
        cluster.must("rollout", "status", f"deployment/{name}", "--timeout=1800s")


def _make_folders(storage: Path) -> None:
    """Such a volume belongs to whoever made its folder, and root makes what a pod finds missing: so all is there."""
    for name in ("data/artifacts", "data/inputs", "data/training", "redis"):
        (storage / name).mkdir(parents=True, exist_ok=True)
    for folder in (storage, *storage.rglob("*")):
        if folder.is_dir():
            folder.chmod(0o777)


if __name__ == "__main__":
    main()
