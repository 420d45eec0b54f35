"""What the test applies: the overlay `cpu` and `k8s/run`, sized for a small node and for the cluster's age."""

import json
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Manifest, pod_specs, render
from tests.harness.k8s.older import older
from tests.support.small_recipe import OVERRIDES

RUN = "small"
# Training that lasts long enough to be killed after its first checkpoint, and learns next to nothing.
_LONG = {"epochs": 40, "save_every": 10, "learning_rate": 1e-7}
_TRAINING = [f"{section}.{name}={value}" for section in ("baseline_sft", "dpo") for name, value in _LONG.items()]
_REQUESTS = {"cpu": "20m", "memory": "128Mi"}


def loop_objects(minor: int, registry: str) -> list[Manifest]:
    """The whole loop, for Kubernetes 1.`minor`."""
    return older(sized(render("k8s/overlays/cpu"), registry), minor)


def run_objects(minor: int, registry: str, seed: Path) -> list[Manifest]:
    """The small run's recipe and the Job that starts and follows it; `seed` has its data."""
    objects = sized(render("k8s/run"), registry)
    (job,) = [found for found in objects if found["kind"] == "Job"]
    job["metadata"]["name"] = f"run-{RUN}"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["command"][-1] = RUN
    data = [f"data.{file.stem}=/inputs/seed/{file.name}" for file in sorted(seed.iterdir())]
    container["args"] = [*data, *OVERRIDES, *_TRAINING, "--model", "/inputs/model"]
    # A run that failed is looked at now, not after twenty tries to follow it.
    job["spec"]["backoffLimit"] = 2
    return older(objects, minor)


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
