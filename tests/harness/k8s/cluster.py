"""The cluster of KUBECONFIG by kubectl, in one namespace that the test makes and removes."""

import json
import random
import subprocess
import sys
import time
from typing import Any

import yaml

from tests.deploy.manifests import Manifest

NAMESPACE = "selfreward"
_DEADLINE_S = 2400
_READY_S = 600


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
        """N of Kubernetes 1.N, as the oldest of its nodes says."""
        nodes = json.loads(self.must("get", "nodes", "--output=json", namespaced=False))["items"]
        return min(int(node["status"]["nodeInfo"]["kubeletVersion"].split(".")[1]) for node in nodes)

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

    def ready(self, service: str) -> list[str]:
        """Names of a service's pods that are ready and stay."""
        return [
            pod["metadata"]["name"]
            for pod in self._pods(service)
            if "deletionTimestamp" not in pod["metadata"]
            and any(
                part["type"] == "Ready" and part["status"] == "True" for part in pod["status"].get("conditions", [])
            )
        ]

    def leaving(self, service: str) -> list[str]:
        """Names of a service's pods that were asked to end and have not yet."""
        return [pod["metadata"]["name"] for pod in self._pods(service) if "deletionTimestamp" in pod["metadata"]]

    def kill(self, service: str, draw: random.Random) -> None:
        """End one of a service's pods at once, as soon as one runs. Raises TimeoutError if none comes to be."""
        deadline = time.monotonic() + _READY_S
        while not (found := [pod for pod in self._pods(service) if pod["status"]["phase"] == "Running"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no pod of {service} ran within {_READY_S} s")
            time.sleep(0.2)
        self.must("delete", "pod", draw.choice(found)["metadata"]["name"], "--grace-period=0", "--force")

    def last_words(self, pod: str) -> str:
        """The last line that a pod printed, once it has ended well."""
        deadline = time.monotonic() + _READY_S
        while (phase := self.must("get", "pod", pod, "--output=jsonpath={.status.phase}")) != "Succeeded":
            if time.monotonic() > deadline or phase == "Failed":
                sys.exit(f"pod {pod} is {phase}:\n{self.run('logs', pod).stdout}")
            time.sleep(1)
        return self.must("logs", pod).splitlines()[-1]

    def training_jobs(self) -> dict[str, str]:
        """How each training job's Job ended, by the training job's id."""
        found = json.loads(self.must("get", "jobs", "--output=json"))["items"]
        ids = [job["metadata"].get("annotations", {}).get("selfreward/train-job") for job in found]
        return {name: _ended(job) for name, job in zip(ids, found, strict=True) if name}

    def _pods(self, service: str) -> list[dict[str, Any]]:
        found = self.must("get", "pods", f"--selector=app.kubernetes.io/name={service}", "--output=json")
        return list(json.loads(found)["items"])

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
