"""What a cluster from before Kubernetes 1.29 can take: the same objects without what its Jobs do not know.

One from before 1.21, as Linux distributions build it, knows disruption budgets and CronJobs by older names. Its
orchestrators ask it through a sidecar that knows both (old_api.py).
"""

import json
import subprocess
from pathlib import Path

from tests.deploy.manifests import Manifest, of_kind

JOBS_SINCE = 29
"""The first minor version of Kubernetes 1 whose Jobs have all that ours ask for (podReplacementPolicy)."""
NAMES_SINCE = 21
_UNKNOWN = ("podReplacementPolicy", "podFailurePolicy")
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_PORT = "6444"
_SIDECAR = "old-api"
_BETA = {"PodDisruptionBudget": "policy/v1beta1", "CronJob": "batch/v1beta1"}


def older(objects: list[Manifest], minor: int) -> list[Manifest]:
    """The objects for Kubernetes 1.`minor`."""
    made: list[Manifest] = json.loads(json.dumps(objects))
    if minor < JOBS_SINCE:
        for found in of_kind(made, "CronJob", "Job").values():
            spec = found["spec"]["jobTemplate"]["spec"] if found["kind"] == "CronJob" else found["spec"]
            for name in _UNKNOWN:
                spec.pop(name, None)
    if minor < NAMES_SINCE and "orchestrator" in of_kind(made, "Deployment"):
        for found in made:
            found["apiVersion"] = _BETA.get(found["kind"], found["apiVersion"])
        _ask_by_sidecar(of_kind(made, "Deployment")["orchestrator"]["spec"]["template"]["spec"])
        made.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": _SIDECAR, "namespace": "selfreward"},
                "data": {"old_api.py": Path(__file__).with_name("old_api.py").read_text()},
            }
        )
    return made


def _ask_by_sidecar(pod: Manifest) -> None:
    (container,) = pod["containers"]
    sidecar = {
        "name": _SIDECAR,
        "command": ["python", "/program/old_api.py", _PORT],
        **{name: container[name] for name in ("image", "securityContext", "resources")},
        "volumeMounts": [
            {"name": "program", "mountPath": "/program", "readOnly": True},
            {"name": "tls", "mountPath": "/tls", "readOnly": True},
        ],
    }
    container["env"] += [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": _PORT},
    ]
    container["volumeMounts"].append({"name": "account", "mountPath": _ACCOUNT, "readOnly": True})
    pod["containers"].append(sidecar)
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    account = [
        {"serviceAccountToken": {"path": "token"}},
        {"secret": {"name": _SIDECAR, "items": [{"key": "tls.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    pod["volumes"] += [
        {"name": "program", "configMap": {"name": _SIDECAR}},
        {"name": "tls", "secret": {"secretName": _SIDECAR, "defaultMode": 0o440}},
        {"name": "account", "projected": {"defaultMode": 0o440, "sources": account}},
    ]


def sidecar_secret(folder: Path) -> list[str]:
    """Arguments of `kubectl create` for the sidecar's certificate, which is made in `folder`."""
    key, certificate = folder / "tls.key", folder / "tls.crt"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "30", "-subj", "/CN=old-api"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, capture_output=True, timeout=60, check=True)
    return ["secret", "tls", _SIDECAR, f"--cert={certificate}", f"--key={key}"]
