"""Schemas of all that is rendered: Kubernetes' own, and those of operators, closed against unknown fields."""

import functools
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

CRDS = Path(__file__).with_name("crds")
ValidationError = jsonschema.ValidationError


def check(found: dict[str, Any]) -> None:
    """Raise ValidationError for an object with a field that its kind does not have, or of another type."""
    version, kind = found["apiVersion"], found["kind"]
    schema = _custom_schemas().get((version, kind)) or _own_schema(version, kind)
    jsonschema.Draft202012Validator(schema, registry=_kubernetes()).validate(found)


@functools.cache
def _custom_schemas() -> dict[tuple[str, str], Any]:
    """Schemas by apiVersion and kind. In files that are ours a `$ref` leads to a part of Kubernetes' schemas."""
    found = {}
    for file in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(file.read_text())["spec"]
        version = spec["versions"][0]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"metadata": {"type": "object"}, "apiVersion": {}, "kind": {}}
        found[(f"{spec['group']}/{version['name']}", spec["names"]["kind"])] = schema
    return found


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


@functools.cache
def _own_schema(version: str, kind: str) -> Any:
    """Of a kind of Kubernetes' own, as kubernetes_validate has it, which would read all of it again for each object."""
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", version)
    return _read(f"{kind.lower()}-{group}.json")


@functools.cache
def _kubernetes() -> "Registry[Any]":
    resource: Resource[Any] = Resource.from_contents(_read("_definitions.json"))
    registry: Registry[Any] = resource @ Registry()
    return registry


def _read(name: str) -> Any:
    folder = f"kubernetes-json-schema/v{kubernetes_validate.latest_version()}-local-strict"
    return json.loads(files("kubernetes_validate").joinpath(folder, name).read_text())
