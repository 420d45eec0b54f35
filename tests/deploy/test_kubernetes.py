"""What `kubectl apply -k` sends: well-formed, confined, and in step with the code that it deploys."""

from typing import Any

import httpx
import pytest
import typer
import yaml

from orchestrator.settings import DEFAULT_PORT as ORCHESTRATOR_PORT
from selfreward.cli.runs.control import follow
from selfreward.client.orchestrator import OrchestratorClient
from selfreward.settings import SECRETS_DIR
from services.generator.settings import DEFAULT_PORT as GENERATOR_PORT
from services.generator.settings import GeneratorSettings
from services.judge.settings import DEFAULT_PORT as JUDGE_PORT
from services.judge.settings import JudgeSettings
from services.trainer.settings import DEFAULT_PORT as TRAINER_PORT
from services.trainer.settings import TrainerSettings
from tests.deploy.known import exported_metrics, named_metrics, unknown_settings
from tests.deploy.manifests import EVERYTHING, OVERLAYS, Manifest, of_kind, pod_specs, render
from tests.deploy.schemas import ValidationError, check
from tests.support.places import ROOT

PORTS = {
    "generator": GENERATOR_PORT,
    "judge": JUDGE_PORT,
    "trainer": TRAINER_PORT,
    "orchestrator": ORCHESTRATOR_PORT,
    "redis": 6379,
}
TRAINING = {False: ("jobs", "cronjobs"), True: ("trainjobs", "trainingruntimes")}
"""What the orchestrator makes of a training job, and by what; over several nodes or not."""
PRE_STOP_S = 5
DRAIN_S = {
    "generator": GeneratorSettings().drain_seconds + GeneratorSettings().engine_stop_seconds,
    "judge": JudgeSettings().judge_drain_notice + JudgeSettings().judge_drain_seconds,
    "orchestrator": 2,
}
overlays = pytest.mark.parametrize("overlay", [f"k8s/overlays/{name}" for name in OVERLAYS])
everything = pytest.mark.parametrize("folder", EVERYTHING)


@everything
def test_objects_follow_their_schemas(folder: str) -> None:
    for found in render(folder):
        check(found)


@pytest.mark.parametrize(
    "kind",
    ["PodMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication", "LeaderWorkerSet", "TrainingRuntime"],
)
def test_a_field_that_an_operator_would_drop_is_found(kind: str) -> None:
    (found, *_) = [one for folder in EVERYTHING for one in render(folder) if one["kind"] == kind]
    with pytest.raises(ValidationError, match="'replica' was unexpected"):
        check({**found, "spec": {**found["spec"], "replica": 1}})


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
    listening_at = [port["containerPort"] for _, pod in pods.values() for port in pod["containers"][0].get("ports", [])]
    assert set(listening_at) == set(PORTS.values())


@overlays
def test_a_rollout_waits_for_the_new_and_lets_the_old_finish(overlay: str) -> None:
    objects = render(overlay)
    deployments, budgets = of_kind(objects, "Deployment"), of_kind(objects, "PodDisruptionBudget")
    served = {name: (labels, pod) for name, labels, pod in pod_specs(objects) if name in DRAIN_S}
    assert deployments.keys() <= served.keys() == budgets.keys()
    for name, (labels, pod) in served.items():
        (container,) = pod["containers"]
        assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(PRE_STOP_S)]
        assert pod["terminationGracePeriodSeconds"] > PRE_STOP_S + DRAIN_S[name]
        assert budgets[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for name, found in deployments.items():
        assert found["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert budgets[name]["spec"]["selector"] == found["spec"]["selector"]


@overlays
def test_only_the_orchestrator_may_do_anything_and_little_of_it(overlay: str) -> None:
    objects = render(overlay)
    (role,) = of_kind(objects, "Role", "ClusterRole").values()
    allowed = {(tuple(rule["resources"]), tuple(rule["verbs"])) for rule in role["rules"]}
    jobs, templates = TRAINING[overlay == "k8s/overlays/multinode"]
    assert allowed == {((jobs,), ("create", "get", "delete")), ((templates,), ("get",))}
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, ["trainer"]]
    (binding,) = of_kind(objects, "RoleBinding", "ClusterRoleBinding").values()
    assert [subject["name"] for subject in binding["subjects"]] == ["orchestrator"]
    accounts = of_kind(objects, "ServiceAccount")
    for name, _, pod in pod_specs(objects):
        account = name.removesuffix("-node")
        assert pod["serviceAccountName"] == account
        assert accounts[account]["automountServiceAccountToken"] is False


@overlays
def test_nothing_passes_between_pods_but_what_is_named(overlay: str) -> None:
    objects = render(overlay)
    policies = of_kind(objects, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, policy in policies.items():
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"], f"{name} lets everybody in"
            if rule["from"] == [{"podSelector": policy["spec"]["podSelector"]}]:
                continue  # pods that are parts of one job or one engine
            assert {port["port"] for port in rule["ports"]} <= set(PORTS.values())
    to_redis = [source for rule in policies["redis"]["spec"]["ingress"] for source in rule["from"]]
    (users,) = [source["podSelector"]["matchExpressions"][0]["values"] for source in to_redis]
    assert sorted(users) == ["generator", "judge", "orchestrator", "trainer"]


@overlays
@pytest.mark.parametrize(
    ("caller", "called"),
    [
        ("orchestrator", "generator"),
        ("orchestrator", "judge"),
        ("judge", "generator"),
        # `self_improving` rewards its samples by the judge.
        ("trainer", "judge"),
    ],
)
def test_who_calls_a_service_may_leave_its_pod_and_come_in_there(overlay: str, caller: str, called: str) -> None:
    policies = of_kind(render(overlay), "NetworkPolicy").values()
    port = PORTS[called]
    assert any(
        selects(policy["spec"]["podSelector"], caller) and passes(rule, "to", called, port)
        for policy in policies
        for rule in policy["spec"].get("egress", [])
    )
    assert any(
        selects(policy["spec"]["podSelector"], called) and passes(rule, "from", caller, port)
        for policy in policies
        for rule in policy["spec"].get("ingress", [])
    )


def passes(rule: dict[str, Any], side: str, other: str, port: int) -> bool:
    """Whether a rule of a policy lets through to or from the pods of a service at a port."""
    ports = [each["port"] for each in rule.get("ports", [])]
    return (not ports or port in ports) and any(selects(peer["podSelector"], other) for peer in rule.get(side, []))


def selects(selector: dict[str, Any], service: str) -> bool:
    """Whether a selector of pods selects those of a service by its name."""
    name = "app.kubernetes.io/name"
    return selector.get("matchLabels", {}).get(name) == service or any(
        each["key"] == name and service in each.get("values", []) for each in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("overlay", [f"k8s/overlays/{name}" for name in OVERLAYS if name != "multinode"])
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


@pytest.mark.parametrize(
    ("overlay", "kind"), [("autoscale", "ScaledObject"), ("autoscale-hpa", "HorizontalPodAutoscaler")]
)
def test_what_is_scaled_has_a_scaler_and_no_fixed_number(overlay: str, kind: str) -> None:
    objects = render(f"k8s/overlays/{overlay}")
    deployments, scalers = of_kind(objects, "Deployment"), of_kind(objects, kind)
    assert deployments.keys() == scalers.keys()
    assert all("replicas" not in found["spec"] for found in deployments.values())
    assert all(found["spec"]["scaleTargetRef"]["name"] == name for name, found in scalers.items())


def test_keda_asks_for_metrics_that_are_there() -> None:
    for scaler in of_kind(render("k8s/overlays/autoscale"), "ScaledObject").values():
        for trigger in scaler["spec"]["triggers"]:
            known = named_metrics(trigger["metadata"].get("query", ""))
            assert known <= exported_metrics()
            assert known or trigger["metadata"]["stream"] == "selfreward:rollouts"


def test_both_autoscalers_scale_by_the_same_figures() -> None:
    keda = of_kind(render("k8s/overlays/autoscale"), "ScaledObject")
    own = of_kind(render("k8s/overlays/autoscale-hpa"), "HorizontalPodAutoscaler")
    for name, scaler in keda.items():
        spec, (trigger,) = own[name]["spec"], scaler["spec"]["triggers"]
        (metric,) = spec["metrics"]
        wanted = trigger["metadata"].get("threshold") or trigger["metadata"]["streamLength"]
        assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": wanted}
        assert (spec["minReplicas"], spec["maxReplicas"], spec["behavior"]["scaleDown"]) == (
            scaler["spec"]["minReplicaCount"],
            scaler["spec"]["maxReplicaCount"],
            {"stabilizationWindowSeconds": scaler["spec"]["cooldownPeriod"]},
        )


def test_autoscalers_ask_for_what_the_adapter_gives_of_metrics_that_are_there() -> None:
    values = yaml.safe_load((ROOT / "k8s/components/autoscale-hpa/adapter-values.yaml").read_text())
    given = {rule["name"]["as"]: rule for rule in values["rules"]["external"]}
    scalers = of_kind(render("k8s/overlays/autoscale-hpa"), "HorizontalPodAutoscaler").values()
    asked = [metric["external"]["metric"]["name"] for found in scalers for metric in found["spec"]["metrics"]]
    assert sorted(asked) == sorted(given)
    for name, rule in given.items():
        (series,) = named_metrics(rule["metricsQuery"])
        assert series == name.replace("vllm_", "vllm:")
        assert named_metrics(rule["seriesQuery"]) == {series}
        assert series in exported_metrics()
        assert "<<.LabelMatchers>>" in rule["metricsQuery"], "the namespace of who asks comes in here"


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


def test_a_run_that_ended_badly_ends_the_job_that_follows_it() -> None:
    said = httpx.Response(
        200, text='id: 1-0\ndata: {"state": "failed"}\n\n', headers={"content-type": "text/event-stream"}
    )
    client = OrchestratorClient("http://x", transport=httpx.MockTransport(lambda _: said))
    with pytest.raises(typer.Exit) as ended:
        follow(client, "one")
    (job,) = of_kind(render("k8s/run"), "Job").values()
    first, *_ = job["spec"]["podFailurePolicy"]["rules"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert first["action"] == "FailJob"
    assert first["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        "values": [ended.value.exit_code],
    }
