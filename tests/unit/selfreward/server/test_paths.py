"""A request's path is what its first line says. A Host header can never change it, with whichever Starlette."""

import ast
import tomllib
from pathlib import Path

import pytest

from tests.support.places import ROOT

_PRODUCT = [file for part in ("selfreward", "services", "orchestrator") for file in sorted((ROOT / part).rglob("*.py"))]
_READ_REQUESTS = {
    "fastapi": (0, 136),
    "h11": (0, 16),
    "python-multipart": (0, 0, 22),
    "starlette": (1, 0, 1),
    "uvicorn": (0, 54),
}


def test_no_code_reads_the_path_from_the_requests_url() -> None:
    """Starlette makes `request.url` of the Host header and the path."""
    reading = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in _PRODUCT
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and (node.value.attr, node.attr) == ("url", "path")
    ]
    assert reading == [], 'read request.scope["path"] instead'


@pytest.mark.parametrize("extra", ["generator", "judge", "orchestrator", "trainer"])
def test_what_reads_requests_has_no_release_with_a_known_hole(extra: str) -> None:
    declared = tomllib.loads(Path(ROOT, "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    floors = dict(line.partition(",")[0].split(">=") for line in declared if ">=" in line)
    expected = set(_READ_REQUESTS) - ({"python-multipart"} if extra != "judge" else set())
    assert expected <= floors.keys()
    for name in expected:
        assert tuple(map(int, floors[name].split("."))) >= _READ_REQUESTS[name], name
