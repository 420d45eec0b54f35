"""What `make test-k8s` would apply, and that it does nothing without a cluster. It needs one to be run itself."""

import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate

from tests.deploy.manifests import ROOT, of_kind, pod_specs
from tests.deploy.schemas import check
from tests.k8s.objects import JOBS_SINCE, input_objects, loop_objects, run_objects, volumes


def test_without_a_cluster_it_says_so_and_ends_well() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.k8s"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (0, "not tested: KUBECONFIG names no cluster\n")


def test_what_is_applied_is_valid_and_fits_a_small_node(tmp_path: Path) -> None:
    (tmp_path / "ift.jsonl").touch()
    objects = [*loop_objects(JOBS_SINCE, "here/x"), *input_objects("here/x"), *run_objects("here/x", tmp_path)]
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


def test_an_older_kubernetes_gets_a_trainer_that_waits_for_jobs() -> None:
    objects = loop_objects(20, "")
    for found in objects:
        kubernetes_validate.validate(found, "1.25", strict=True)
    assert not of_kind(objects, "CronJob", "PodDisruptionBudget")
    trainer = of_kind(objects, "Deployment")["trainer"]
    assert (
        trainer["spec"]["selector"]["matchLabels"].items() <= trainer["spec"]["template"]["metadata"]["labels"].items()
    )
    orchestrator = of_kind(objects, "Deployment")["orchestrator"]["spec"]["template"]["spec"]["containers"][0]
    assert "SELFREWARD_TRAINER_CRONJOB" not in [entry["name"] for entry in orchestrator["env"]]
