"""Training and engines over several nodes: what operators find them by, and that all parts have a GPU."""

import json
import math

from services.generator.engine import node
from tests.deploy.manifests import of_kind, pod_specs, render


def test_attempts_over_nodes_end_together_and_are_bounded() -> None:
    objects = render("k8s/overlays/multinode")
    (runtime,) = of_kind(objects, "TrainingRuntime").values()
    group = runtime["spec"]["template"]["spec"]
    (rule,) = group["failurePolicy"]["rules"]
    assert (rule["action"], group["failurePolicy"]["restartStrategy"]) == ("FailJobSet", "BlockingRecreate")
    (job,) = group["replicatedJobs"]
    # Kubeflow finds the pods and their container by these.
    assert job["template"]["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    (refused,) = spec["podFailurePolicy"]["rules"]
    assert refused["onExitCodes"] == {"containerName": "node", "operator": "In", "values": [65]}
    assert (container["name"], spec["backoffLimit"]) == ("node", 0)
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert runtime["spec"]["mlPolicy"]["torch"]["numProcPerNode"] == gpus
    shared = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/scratch"]
    assert shared == [{"name": "data", "subPath": "training", "mountPath": "/scratch"}]
    orchestrator = of_kind(objects, "Deployment")["orchestrator"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SELFREWARD_TRAINER_RUNTIME", "value": "trainer"} in orchestrator
    assert "SELFREWARD_TRAINER_CRONJOB" not in [entry["name"] for entry in orchestrator]


def test_an_engine_over_nodes_has_a_gpu_for_each_of_its_parts_and_one_address() -> None:
    objects = render("k8s/overlays/multinode")
    (group,) = [found["spec"]["leaderWorkerTemplate"] for found in of_kind(objects, "LeaderWorkerSet").values()]
    pods = {name: (labels, pod["containers"][0]) for name, labels, pod in pod_specs(objects)}
    (first, leader), (_, other) = pods["generator"], pods["generator-node"]
    assert leader["env"] == other["env"]
    told = {entry["name"]: entry["value"] for entry in leader["env"]}
    flags = json.loads(told["SELFREWARD_ENGINE_ARGS"])
    parts = [int(flags[flags.index(flag) + 1]) for flag in ("--tensor-parallel-size", "--pipeline-parallel-size")]
    gpus = [container["resources"]["limits"]["nvidia.com/gpu"] for container in (leader, other)]
    assert gpus[0] == gpus[1]
    assert math.prod(parts) == gpus[0] * group["size"]
    assert other["command"] == ["python", "-m", node.__name__]
    for service in of_kind(objects, "Service").values():
        assert service["spec"]["selector"]["app.kubernetes.io/name"] != "generator-node"
    assert first["app.kubernetes.io/name"] == "generator"
