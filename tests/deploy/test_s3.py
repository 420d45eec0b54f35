"""The component that keeps artifacts in a bucket, added to each overlay."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.known import unknown_settings
from tests.deploy.manifests import OVERLAYS, of_kind, pod_specs, render_with
from tests.deploy.schemas import check
from tests.support.places import ROOT

READERS = {"generator", "generator-node", "trainer", "orchestrator"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_that_read_artifacts_reach_the_bucket_and_have_a_place_for_copies(overlay: str, tmp_path: Path) -> None:
    objects = render_with("s3", overlay, tmp_path)
    for found in objects:
        check(found)
    configs = [found["data"] for found in of_kind(objects, "ConfigMap").values()]
    (config,) = [data for data in configs if "SELFREWARD_ARTIFACTS" in data]
    assert config["SELFREWARD_ARTIFACTS"].startswith("s3://")
    assert config["SELFREWARD_JUDGE_URL"]
    assert unknown_settings(config) == []
    readers = {name: pod for name, _, pod in pod_specs(objects) if name in READERS}
    assert {"generator", "trainer", "orchestrator"} <= readers.keys()
    for name, pod in readers.items():
        mounts = {mount["mountPath"]: mount for mount in pod["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes.keys() >= {mount["name"] for mount in mounts.values()}
        cache = mounts[config["SELFREWARD_ARTIFACT_CACHE"]]
        nodes = overlay == "multinode" and name.startswith("generator")
        assert _place(volumes, cache) == ("claim" if nodes else "node")
        if name != "generator-node":
            credentials = Path(config["AWS_SHARED_CREDENTIALS_FILE"])
            held = volumes[mounts[str(credentials.parent)]["name"]]["secret"]
            assert held["secretName"] == "selfreward-s3"  # pragma: allowlist secret - its name
    (policy,) = [found for name, found in of_kind(objects, "NetworkPolicy").items() if name == "to-s3"]
    allowed = set(policy["spec"]["podSelector"]["matchExpressions"][0]["values"])
    assert allowed == readers.keys() - {"generator-node"}


def _place(volumes: dict[str, Any], mount: dict[str, Any]) -> str:
    return "node" if "emptyDir" in volumes[mount["name"]] else "claim"


def test_the_bucket_is_named_by_a_patch_as_documented(tmp_path: Path) -> None:
    document = (ROOT / "docs" / "deploy.md").read_text()
    (written,) = [block for block in re.findall(r"```yaml\n(.*?)```", document, re.DOTALL) if "s3://" in block]
    patches = yaml.safe_load(written)["patches"]
    objects = render_with("s3", "gpu", tmp_path, patches)
    configs = [found["data"] for found in of_kind(objects, "ConfigMap").values()]
    (config,) = [data for data in configs if "SELFREWARD_ARTIFACTS" in data]
    assert config["SELFREWARD_ARTIFACTS"] == "s3://my-bucket/selfreward"
    assert config["AWS_REGION"] == "eu-central-1"
