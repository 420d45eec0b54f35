"""Alerts and dashboards: they name what is exported, and compose and Kubernetes have the same ones."""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.deploy.known import exported_metrics, named_metrics
from tests.support.places import ROOT

ALERTS = ROOT / "observability" / "alerts.yml"
SCALERS = ROOT / "k8s" / "components"
DASHBOARDS = sorted((ROOT / "observability" / "dashboards").glob("*.json"))


def test_the_metrics_that_these_tests_know_are_the_exported_ones() -> None:
    known = exported_metrics()
    assert {"selfreward_queue_length", "selfreward_judge_votes_total", "vllm:num_requests_waiting"} <= known
    assert "selfreward_judge_score_bucket" in known
    assert "vllm:generation_tokens_total" in known


def test_alerts_name_exported_metrics_and_a_remedy() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        named = named_metrics(rule["expr"])
        assert named, rule
        assert named <= exported_metrics(), rule["alert"]
        assert {"summary", "remedy"} <= rule["annotations"].keys()
        for document in re.findall(r"docs/[\w-]+\.md", rule["annotations"]["remedy"]):
            assert (ROOT / document).is_file()


def test_every_query_is_one_that_prometheus_reads() -> None:
    """Of alerts, dashboards and scalers; Grafana and the adapter fill in what is theirs before Prometheus sees it."""
    alerts = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    panels = [panel for file in DASHBOARDS for panel in json.loads(file.read_text())["panels"]]
    shown = [target["expr"].replace("$__rate_interval", "1m") for panel in panels for target in panel["targets"]]
    scaled = "".join(file.read_text() for file in SCALERS.glob("autoscale/*.yaml"))
    keda = re.findall(r"query: (.+)", scaled)
    rules = yaml.safe_load((SCALERS / "autoscale-hpa" / "adapter-values.yaml").read_text())["rules"]["external"]
    adapter = [rule["metricsQuery"].replace("<<.LabelMatchers>>", 'namespace="selfreward"') for rule in rules]
    assert len(keda) == 2
    for query in (*alerts, *shown, *keda, *adapter):
        promql_parser.parse(query)
    with pytest.raises(ValueError, match="unclosed"):
        promql_parser.parse("sum(rate(selfreward_queue_length[1m])")


def test_kubernetes_has_the_alerts_of_compose() -> None:
    rule = yaml.safe_load((ROOT / "k8s" / "components" / "observability" / "rules.yaml").read_text())
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text())


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_show_exported_metrics(file: Path) -> None:
    board = json.loads(file.read_text())
    assert board["uid"] == f"selfreward-{file.stem}"
    for panel in board["panels"]:
        for target in panel["targets"]:
            named = named_metrics(target["expr"])
            assert named, panel["title"]
            assert named <= exported_metrics(), panel["title"]


def test_every_dashboard_reaches_kubernetes() -> None:
    (made,) = yaml.safe_load((ROOT / "observability" / "kustomization.yaml").read_text())["configMapGenerator"]
    assert sorted(made["files"]) == [f"dashboards/{file.name}" for file in DASHBOARDS]
