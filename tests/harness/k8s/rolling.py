"""A rolling restart of every service under load, as `kubectl rollout restart` makes it."""

import json
import time
from typing import Any

from tests.deploy.manifests import Manifest
from tests.harness.k8s.cluster import NAMESPACE, Cluster
from tests.harness.k8s.objects import RUN
from tests.support.places import ROOT

WORKLOADS = ("deployment/judge", "deployment/generator", "deployment/orchestrator", "statefulset/redis")


def rolling_restart(cluster: Cluster, run: list[Manifest]) -> dict[str, Any]:
    """Requests answered and lost while each service's pods were replaced, and how long that took.

    `run` is what started the run: the load's pod is made after its Job.
    """
    pod = _load(run)
    cluster.apply([_program(), pod])
    cluster.must("wait", "--for=condition=Ready", "pod/load", "--timeout=600s")
    time.sleep(10)
    began = time.monotonic()
    restarted = 0
    for workload in WORKLOADS:
        service = workload.partition("/")[2]
        restarted += len(cluster.ready(service))
        cluster.must("rollout", "restart", workload)
        cluster.must("rollout", "status", workload, "--timeout=1800s")
        for leaving in cluster.leaving(service):
            cluster.must("wait", "--for=delete", f"pod/{leaving}", "--timeout=600s")
    seconds = time.monotonic() - began
    cluster.must("exec", "load", "--", "sh", "-c", "kill -TERM 1")
    counts = json.loads(cluster.last_words("load"))
    return {"restarted": restarted, "seconds": round(seconds, 1), "answered": 0, "lost": 0, **counts}


def _program() -> Manifest:
    data = {"load.py": (ROOT / "tests" / "harness" / "load.py").read_text()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "load", "namespace": NAMESPACE},
        "data": data,
    }


def _load(run: list[Manifest]) -> Manifest:
    (job,) = [found for found in run if found["kind"] == "Job" and found["metadata"]["name"] == f"run-{RUN}"]
    spec = json.loads(json.dumps(job["spec"]["template"]["spec"]))
    (container,) = spec["containers"]
    del container["args"]
    container["command"] = ["python", "/program/load.py"]
    container["env"].append({"name": "SELFREWARD_JUDGE_URL", "value": "http://judge:8001"})
    container["env"].append({"name": "PYTHONPATH", "value": "/app"})
    container["volumeMounts"].append({"name": "program", "mountPath": "/program", "readOnly": True})
    spec["volumes"].append({"name": "program", "configMap": {"name": "load"}})
    metadata = {"name": "load", "namespace": NAMESPACE, "labels": {"selfreward/client": "judge"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
