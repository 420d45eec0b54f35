"""What the test applies: the overlay `cpu` and `k8s/run`, sized for a small node and for the cluster's age."""

import json
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Manifest, pod_specs, render
from tests.loop.small import OVERRIDES

RUN = "small"
JOBS_SINCE = 29
"""The first minor version of Kubernetes 1 that can make the Jobs of training jobs (podReplacementPolicy)."""
_REQUESTS = {"cpu": "20m", "memory": "128Mi"}


def loop_objects(minor: int, registry: str) -> list[Manifest]:
    """The whole loop. Before `JOBS_SINCE` one trainer waits for jobs, since its Jobs cannot be made."""
    objects = sized(render("k8s/overlays/cpu"), registry)
    return objects if minor >= JOBS_SINCE else older(objects)


def run_objects(registry: str, seed: Path) -> list[Manifest]:
    """The small run's recipe and the Job that starts and follows it; `seed` has its data."""
    objects = sized(render("k8s/run"), registry)
    (job,) = [found for found in objects if found["kind"] == "Job"]
    job["metadata"]["name"] = f"run-{RUN}"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["command"][-1] = RUN
    data = [f"data.{file.stem}=/inputs/seed/{file.name}" for file in sorted(seed.iterdir())]
    container["args"] = [*data, *OVERRIDES, "--model", "/inputs/model"]
    return objects


def input_objects(registry: str) -> list[Manifest]:
    """The pod that data is copied through."""
    return sized(render("k8s/inputs"), registry)


def sized(objects: list[Manifest], registry: str) -> list[Manifest]:
    """Objects of our images in `registry` (empty: on the nodes), whose pods ask for next to nothing."""
    made: list[Manifest] = json.loads(json.dumps(objects))
    for _, _, pod in pod_specs(made):
        for container in pod["containers"]:
            container["resources"]["requests"] = _REQUESTS
            if registry and container["image"].startswith("selfreward/"):
                container["image"] = f"{registry}/{container['image']}"
    return made


def older(objects: list[Manifest]) -> list[Manifest]:
    """Objects for a cluster from before `JOBS_SINCE`: no disruption budgets, and a trainer that waits for jobs."""
    made = []
    for found in objects:
        if found["kind"] == "CronJob":
            found = _waiting(found)
        if found["kind"] == "Deployment" and found["metadata"]["name"] == "orchestrator":
            (container,) = found["spec"]["template"]["spec"]["containers"]
            container["env"] = [entry for entry in container["env"] if entry["name"] != "SELFREWARD_TRAINER_CRONJOB"]
        if found["kind"] != "PodDisruptionBudget":
            made.append(found)
    return made


def _waiting(cronjob: Manifest) -> Manifest:
    template = cronjob["spec"]["jobTemplate"]["spec"]["template"]
    template["spec"].pop("restartPolicy")
    spec = {"replicas": 1, "selector": {"matchLabels": template["metadata"]["labels"]}, "template": template}
    metadata = {name: cronjob["metadata"][name] for name in ("name", "namespace", "labels")}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def volumes(folder: Path) -> list[Manifest]:
    """Volumes in a folder of the only node, for the two claims of a cluster that makes none by itself."""
    return [_volume(name, folder / name, claim) for name, claim in (("data", "data"), ("redis", "data-redis-0"))]


def _volume(name: str, folder: Path, claim: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"selfreward-test-{name}"},
        "spec": {
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "capacity": {"storage": "200Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": "selfreward", "name": claim},
            "hostPath": {"path": str(folder)},
        },
    }
