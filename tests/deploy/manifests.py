"""Rendered manifests: `kubectl kustomize` needs no cluster."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.places import ROOT

OVERLAYS = tuple(sorted(folder.name for folder in (ROOT / "k8s" / "overlays").iterdir()))
EVERYTHING = (*(f"k8s/overlays/{name}" for name in OVERLAYS), "k8s/run", "k8s/inputs")
Manifest = dict[str, Any]


@functools.cache
def _rendered(folder: str) -> str:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    made = subprocess.run([kubectl, "kustomize", ROOT / folder], capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return made.stdout


def render(folder: str) -> list[Manifest]:
    """All objects of a kustomization."""
    return list(yaml.safe_load_all(_rendered(folder)))


def of_kind(objects: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """Objects of some kinds by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] in kinds}


def pod_specs(objects: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, labels and spec of the pods of every workload."""
    for name, found in of_kind(objects, "Pod").items():
        yield name, found["metadata"]["labels"], found["spec"]
    for name, found in of_kind(objects, "Deployment", "StatefulSet", "Job", "CronJob").items():
        spec = found["spec"]["jobTemplate"]["spec"] if found["kind"] == "CronJob" else found["spec"]
        yield name, spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    for name, found in of_kind(objects, "LeaderWorkerSet").items():
        group = found["spec"]["leaderWorkerTemplate"]
        for pod, template in ((name, group["leaderTemplate"]), (f"{name}-node", group["workerTemplate"])):
            yield pod, template["metadata"]["labels"], template["spec"]
    for name, found in of_kind(objects, "TrainingRuntime").items():
        (job,) = found["spec"]["template"]["spec"]["replicatedJobs"]
        template = job["template"]["spec"]["template"]
        yield name, template["metadata"]["labels"], template["spec"]


def render_with(component: str, overlay: str, folder: Path, patches: Sequence[Manifest] = ()) -> list[Manifest]:
    """An overlay and a component together, patched, by a kustomization in `folder`, as users write their own."""
    where = os.path.relpath(ROOT / "k8s", folder)
    made = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "selfreward",
        "resources": [f"{where}/overlays/{overlay}"],
        "components": [f"{where}/components/{component}"],
        "patches": list(patches),
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return list(yaml.safe_load_all(_rendered(str(folder))))
