"""The cluster of KUBECONFIG by kubectl, in one namespace that the test makes and removes."""

import json
import re
import subprocess
import sys
import time
from typing import Any

import yaml

from tests.deploy.manifests import Manifest

NAMESPACE = "selfreward"
_DEADLINE_S = 2400


class Cluster:
    """kubectl with a deadline for each call."""

    def run(
        self, *arguments: str, namespaced: bool = True, given: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """One kubectl command in the namespace."""
        command = ["kubectl", *(["--namespace", NAMESPACE] if namespaced else []), *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=_DEADLINE_S, check=False)

    def must(self, *arguments: str, namespaced: bool = True, given: str | None = None) -> str:
        """The same, which ends the test where it fails."""
        made = self.run(*arguments, namespaced=namespaced, given=given)
        if made.returncode:
            pods = self.run("get", "pods", "--output=wide").stdout
            sys.exit(f"kubectl {arguments[0]} failed: {made.stderr or made.stdout}\n{pods}")
        return made.stdout

    def minor_version(self) -> int:
        """N of Kubernetes 1.N."""
        answer = json.loads(self.must("get", "--raw=/version", namespaced=False))
        return int(re.sub(r"\D", "", answer["minor"]))

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such an object."""
        return self.run("get", kind, name, "--output=name", "--ignore-not-found").stdout.strip() != ""

    def apply(self, objects: list[Manifest]) -> None:
        """Apply objects."""
        self.must("apply", "--filename=-", given=yaml.safe_dump_all(objects))

    def wait_for_job(self, name: str, seconds: float) -> str:
        """`Complete`, `Failed`, or how it stood when the time was over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ended = _ended(json.loads(self.must("get", "job", name, "--output=json")))
            if ended != "running":
                return ended
            time.sleep(5)
        return "running"

    def training_jobs(self) -> dict[str, str]:
        """How each training job's Job ended, by the training job's id."""
        found = json.loads(self.must("get", "jobs", "--output=json"))["items"]
        ids = [job["metadata"].get("annotations", {}).get("selfreward/train-job") for job in found]
        return {name: _ended(job) for name, job in zip(ids, found, strict=True) if name}

    def clear(self) -> None:
        """Remove the namespace with all that is in it, and the volumes of the test."""
        self.run("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=600s", namespaced=False)
        for name in ("data", "redis"):
            self.run("delete", "pv", f"selfreward-test-{name}", "--ignore-not-found", namespaced=False)


def _ended(job: dict[str, Any]) -> str:
    for condition in job.get("status", {}).get("conditions") or []:
        if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
            return str(condition["type"])
    return "running"
