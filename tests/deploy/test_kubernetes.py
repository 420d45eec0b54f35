"""What `kubectl apply -k` sends: well-formed, confined, and in step with the code that it deploys."""

from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from orchestrator.__main__ import DEFAULT_PORT as ORCHESTRATOR_PORT
from selfreward.settings import SECRETS_DIR
from services.generator.settings import DEFAULT_PORT as GENERATOR_PORT
from services.generator.settings import GeneratorSettings
from services.judge.settings import DEFAULT_PORT as JUDGE_PORT
from services.judge.settings import JudgeSettings
from services.trainer.settings import DEFAULT_PORT as TRAINER_PORT
from services.trainer.settings import TrainerSettings
from tests.deploy.known import exported_metrics, named_metrics, unknown_settings
from tests.deploy.manifests import EVERYTHING, OVERLAYS, Manifest, of_kind, pod_specs, render

CRDS = Path(__file__).with_name("crds")
OUTSIDE = {"TriggerAuthentication", "PodMonitor", "PrometheusRule"}
"""Kinds of operators whose schemas are not at hand."""
PORTS = {
    "generator": GENERATOR_PORT,
    "judge": JUDGE_PORT,
    "trainer": TRAINER_PORT,
    "orchestrator": ORCHESTRATOR_PORT,
    "redis": 6379,
}
PRE_STOP_S = 5
DRAIN_S = {
    "generator": GeneratorSettings().drain_seconds + GeneratorSettings().engine_stop_seconds,
    "judge": JudgeSettings().judge_drain_notice + JudgeSettings().judge_drain_seconds,
    "orchestrator": 2,
}
overlays = pytest.mark.parametrize("overlay", [f"k8s/overlays/{name}" for name in OVERLAYS])
everything = pytest.mark.parametrize("folder", EVERYTHING)


def closed(schema: Any) -> Any:
    """A CRD's schema that refuses unknown fields, which an API server silently drops."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(part) for name, part in schema.items()}
    if made.get("type") == "object" and "properties" in made:
        made.setdefault("additionalProperties", False)
    if made.pop("x-kubernetes-int-or-string", None):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return made


def custom_schemas() -> dict[str, Any]:
    """Schemas by kind."""
    found = {}
    for file in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(file.read_text())["spec"]
        schema = closed(spec["versions"][0]["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[spec["names"]["kind"]] = schema
    return found


@everything
def test_objects_follow_their_schemas(folder: str) -> None:
    custom = custom_schemas()
    for found in render(folder):
        if found["kind"] in custom:
            jsonschema.validate(found, custom[found["kind"]])
        elif found["kind"] not in OUTSIDE:
            kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


@everything
def test_pods_are_confined(folder: str) -> None:
    for name, _, pod in pod_specs(render(folder)):
        held = pod["securityContext"]
        assert held["runAsNonRoot"] is True, name
        assert held["runAsUser"] > 0
        assert held["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is (name == "orchestrator")
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]
            _, _, tag = container["image"].rpartition(":")
            assert tag not in ("", "latest", container["image"]), container["image"]


@everything
def test_what_a_pod_names_is_there(folder: str) -> None:
    objects = render(folder)
    claims = {"data", *of_kind(objects, "PersistentVolumeClaim")}
    config = of_kind(objects, "ConfigMap")
    for name, _, pod in pod_specs(objects):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            own = {claim["metadata"]["name"] for claim in _claims(objects, name)}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes.keys() | own
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in config
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in config


def _claims(objects: list[Manifest], name: str) -> list[Manifest]:
    found = of_kind(objects, "StatefulSet").get(name, {})
    claims: list[Manifest] = found.get("spec", {}).get("volumeClaimTemplates", [])
    return claims


@everything
def test_settings_are_ones_that_the_services_read(folder: str) -> None:
    objects = render(folder)
    config = of_kind(objects, "ConfigMap")
    for name, _, pod in pod_specs(objects):
        for container in pod["containers"]:
            environment = {entry["name"]: entry["value"] for entry in container.get("env", [])}
            for source in container.get("envFrom", []):
                environment |= config[source["configMapRef"]["name"]]["data"]
            assert unknown_settings(environment) == [], name
            for variable, value in environment.items():
                if variable.endswith("_URL"):
                    _check_address(objects, folder, value)
            if SECRETS_DIR not in environment:
                continue
            (secrets,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
            paths = [item["path"] for item in secrets["items"]]
            assert unknown_settings(path.upper() for path in paths) == []
            assert {"name": "secrets", "mountPath": environment[SECRETS_DIR], "readOnly": True} in container[
                "volumeMounts"
            ]


def _check_address(objects: list[Manifest], folder: str, url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    assert PORTS[host.removesuffix("-replicas")] == int(port)
    assert folder == "k8s/run" or host in of_kind(objects, "Service")


@overlays
def test_services_lead_to_ports_that_the_applications_listen_on(overlay: str) -> None:
    objects = render(overlay)
    pods = {name: (labels, pod) for name, labels, pod in pod_specs(objects)}
    for name, service in of_kind(objects, "Service").items():
        workload = name.removesuffix("-replicas")
        labels, pod = pods[workload]
        assert service["spec"]["selector"].items() <= labels.items()
        listening = {port["name"]: port["containerPort"] for port in pod["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert port["port"] == PORTS[workload]
            assert listening[port.get("targetPort", port["name"])] == PORTS[workload]
    assert {pod["containers"][0]["ports"][0]["containerPort"] for _, pod in pods.values()} == set(PORTS.values())


@overlays
def test_a_rollout_waits_for_the_new_and_lets_the_old_finish(overlay: str) -> None:
    objects = render(overlay)
    deployments, budgets = of_kind(objects, "Deployment"), of_kind(objects, "PodDisruptionBudget")
    assert deployments.keys() == budgets.keys() == DRAIN_S.keys()
    for name, found in deployments.items():
        pod = found["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(PRE_STOP_S)]
        assert pod["terminationGracePeriodSeconds"] > PRE_STOP_S + DRAIN_S[name]
        assert pod["topologySpreadConstraints"]
        assert budgets[name]["spec"]["selector"] == found["spec"]["selector"]


@overlays
def test_only_the_orchestrator_may_do_anything_and_little_of_it(overlay: str) -> None:
    objects = render(overlay)
    (role,) = of_kind(objects, "Role", "ClusterRole").values()
    allowed = {(tuple(rule["resources"]), tuple(rule["verbs"])) for rule in role["rules"]}
    assert allowed == {(("jobs",), ("create", "get", "delete")), (("cronjobs",), ("get",))}
    (binding,) = of_kind(objects, "RoleBinding", "ClusterRoleBinding").values()
    assert [subject["name"] for subject in binding["subjects"]] == ["orchestrator"]
    accounts = of_kind(objects, "ServiceAccount")
    for name, _, pod in pod_specs(objects):
        assert pod["serviceAccountName"] == name
        assert accounts[name]["automountServiceAccountToken"] is False


@overlays
def test_nothing_passes_between_pods_but_what_is_named(overlay: str) -> None:
    objects = render(overlay)
    policies = of_kind(objects, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], f"{name} lets everybody in"
            assert {port["port"] for port in rule["ports"]} <= set(PORTS.values())
    to_redis = [source for rule in policies["redis"]["spec"]["ingress"] for source in rule["from"]]
    (users,) = [source["podSelector"]["matchExpressions"][0]["values"] for source in to_redis]
    assert sorted(users) == ["generator", "judge", "orchestrator", "trainer"]


@overlays
def test_training_jobs_are_bounded_and_outlive_an_eviction(overlay: str) -> None:
    cronjob = of_kind(render(overlay), "CronJob")["trainer"]
    assert cronjob["spec"]["suspend"] is True
    spec = cronjob["spec"]["jobTemplate"]["spec"]
    assert {"backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"} <= spec.keys()
    assert spec["podReplacementPolicy"] == "Failed"
    refused, evicted = spec["podFailurePolicy"]["rules"]
    assert (refused["action"], refused["onExitCodes"]["values"]) == ("FailJob", [65])
    assert (evicted["action"], evicted["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget"}])
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] > TrainerSettings().stop_seconds + PRE_STOP_S
    kept = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == "/scratch"]
    assert kept == [{"name": "data", "subPath": "training", "mountPath": "/scratch"}]
    used = of_kind(render(overlay), "Deployment")["orchestrator"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "SELFREWARD_TRAINER_CRONJOB", "value": "trainer"} in used


def test_what_is_scaled_has_no_fixed_number_and_a_metric_that_is_there() -> None:
    objects = render("k8s/overlays/autoscale")
    deployments = of_kind(objects, "Deployment")
    scalers = of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler")
    assert deployments.keys() == scalers.keys()
    assert all("replicas" not in found["spec"] for found in deployments.values())
    for name, scaler in scalers.items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == name
        for trigger in scaler["spec"].get("triggers", []):
            known = named_metrics(trigger["metadata"].get("query", ""))
            assert known <= exported_metrics()
            assert known or trigger["metadata"]["stream"] == "selfreward:rollouts"


def test_gpus_are_asked_for_where_there_is_something_to_do_for_them() -> None:
    asked = {
        name: pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        for name, _, pod in pod_specs(render("k8s/overlays/gpu"))
    }
    assert asked == {"generator": 1, "trainer": 1, "judge": None, "orchestrator": None, "redis": None}
    shared = [
        volume["emptyDir"]["sizeLimit"]
        for _, _, pod in pod_specs(render("k8s/overlays/gpu"))
        for volume in pod["volumes"]
        if volume["name"] == "shm"
    ]
    assert shared == ["8Gi", "8Gi"]
