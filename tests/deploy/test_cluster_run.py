"""What `make test-k8s` would apply, and that it does nothing without a cluster. It needs one to be run itself."""

import os
import subprocess
import sys
from pathlib import Path

from tests.deploy.manifests import of_kind, pod_specs
from tests.deploy.schemas import check
from tests.harness.k8s.objects import input_objects, loop_objects, run_objects, volumes
from tests.harness.k8s.older import JOBS_SINCE, NAMES_SINCE
from tests.support.places import ROOT


def test_without_a_cluster_it_says_so_and_ends_well() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.harness.k8s"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (0, "not tested: KUBECONFIG names no cluster\n")


def test_what_is_applied_is_valid_and_fits_a_small_node(tmp_path: Path) -> None:
    (tmp_path / "ift.jsonl").touch()
    objects = [
        *loop_objects(JOBS_SINCE, "here/x"),
        *input_objects("here/x"),
        *run_objects(JOBS_SINCE, "here/x", tmp_path),
    ]
    for found in [*objects, *volumes(tmp_path)]:
        check(found)
    for name, _, pod in pod_specs(objects):
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == {"cpu": "20m", "memory": "128Mi"}
        assert container["image"].startswith("redis:" if name == "redis" else "here/x/selfreward/")
    (job,) = of_kind(objects, "Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    said = [*container["command"], *container["args"]]
    assert said[said.index("--run") + 1] == job["metadata"]["name"].removeprefix("run-") == "small"
    assert "data.ift=/inputs/seed/ift.jsonl" in said
    assert said[-2:] == ["--model", "/inputs/model"]
    assert of_kind(objects, "CronJob").keys() == {"trainer"}


def test_a_cluster_from_before_our_fields_gets_jobs_without_them() -> None:
    new, old = (
        of_kind(loop_objects(minor, ""), "CronJob")["trainer"]["spec"] for minor in (JOBS_SINCE, JOBS_SINCE - 1)
    )
    asked = new["jobTemplate"]["spec"]
    del asked["podReplacementPolicy"], asked["podFailurePolicy"]
    assert new == old


def test_an_older_kubernetes_gets_older_names_and_orchestrators_that_know_them() -> None:
    objects = loop_objects(NAMES_SINCE - 1, "")
    versions = {found["kind"]: found["apiVersion"] for found in objects}
    assert (versions["CronJob"], versions["PodDisruptionBudget"]) == ("batch/v1beta1", "policy/v1beta1")
    for found in objects:
        if found["kind"] not in ("CronJob", "PodDisruptionBudget"):
            check(found)
    pod = of_kind(objects, "Deployment")["orchestrator"]["spec"]["template"]["spec"]
    orchestrator, sidecar = pod["containers"]
    asked = {entry["name"]: entry["value"] for entry in orchestrator["env"]}
    assert asked["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
    mounted = {mount["mountPath"]: mount["name"] for mount in orchestrator["volumeMounts"]}
    assert mounted["/var/run/secrets/kubernetes.io/serviceaccount"] == "account"
    assert {mount["name"] for mount in sidecar["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
