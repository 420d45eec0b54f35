"""Compose files as `docker compose config` shows them, read without Docker; only what our own files use."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.places import ROOT

_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\})")


class Missing(LookupError):
    """A variable that a file demands (`${NAME:?why}`) is not set or empty."""


def services(overlays: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services of docker-compose.yml and overlays by name, all variables filled in. Raises Missing."""
    merged: dict[str, dict[str, Any]] = {}
    for overlay in ("", *(f".{name}" for name in overlays)):
        written = yaml.safe_load((ROOT / f"docker-compose{overlay}.yml").read_text())["services"]
        merged = _merged(merged, _filled(written, environment))
    for service in merged.values():
        service["ports"] = [_port(port) for port in service.get("ports", [])]
        service["volumes"] = [_volume(volume) for volume in service.get("volumes", [])]
    return merged


def _filled(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment) for inner in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda variable: _value(variable, environment), value)
    return value


def _value(variable: re.Match[str], environment: Mapping[str, str]) -> str:
    if variable["dollar"]:
        return "$"
    given = environment.get(variable["name"], "")
    if not given and variable["kind"] == "?":
        raise Missing(f"{variable['name']}: {variable['text']}")
    return given or variable["text"] or ""


def _merged(below: Any, above: Any) -> Any:
    """Mappings merge; of anything else the later file's is taken. Ours overlay no list."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {key: _merged(below.get(key), above.get(key)) for key in below | above}
    assert not (isinstance(below, list) and isinstance(above, list)), "compose joins lists, and this reader does not"
    return below if above is None else above


def _port(written: str) -> dict[str, str | int]:
    host, published, target = written.split(":")
    return {"host_ip": host, "published": published, "target": int(target)}


def _volume(written: str) -> dict[str, str | bool]:
    """`SOURCE:TARGET[:ro]`, or a TARGET alone."""
    mount, read_only, _ = written.partition(":ro")
    source, _, target = mount.rpartition(":")
    return {"source": source, "target": target, "read_only": bool(read_only)}
