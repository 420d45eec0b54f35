"""What is installed, and what is deployed: the wheel holds the library alone, and one version is named everywhere."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the source, in which building leaves nothing behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("selfreward", "selfreward_judge", "services", "orchestrator", "bench"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "evaluation.py"):
        shutil.copy(ROOT / name, source / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out)]
    build = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    subprocess.run(build, capture_output=True, check=True, timeout=120)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_library_alone_with_its_data(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"selfreward_loop-{PROJECT['version']}-py3-none-any")
    assert {name.partition("/")[0] for name in names} == {
        "selfreward",
        "selfreward_judge",
        f"selfreward_loop-{PROJECT['version']}.dist-info",
    }
    source = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "selfreward").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert source == {name for name in names if name.startswith("selfreward/")}
    assert "selfreward/py.typed" in source


def test_images_and_manifests_are_of_the_projects_version() -> None:
    files = [*ROOT.glob("docker-compose*.yml"), *ROOT.glob("**/Dockerfile"), *ROOT.glob("k8s/**/kustomization.yaml")]
    named = {
        str(file.relative_to(ROOT)): version
        for file in files
        for version in re.findall(r"(?:VERSION=|VERSION:-|newTag: )(\d+\.\d+\.\d+)", file.read_text())
    }
    assert len(named) > 10
    assert set(named.values()) == {PROJECT["version"]}


def test_nobody_is_sent_to_the_other_package_of_this_name() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "Makefile"]
    files += [file for part in ("selfreward", "services", "orchestrator") for file in ROOT.glob(f"{part}/**/*.py")]
    other = re.compile(r"pip install [^\n]*\bselfreward(?!-loop)[\['\s]")
    assert [str(file.relative_to(ROOT)) for file in files if other.search(file.read_text())] == []


def test_make_help_shows_every_target_with_all_of_its_words() -> None:
    command = [shutil.which("make") or "make", "help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make judge ENGINE=https://HOST/v1 MODEL=NAME (docs/judge.md)" in shown
    described = [line.partition("## ")[2] for line in (ROOT / "Makefile").read_text().splitlines() if ": " in line]
    assert all(words in shown for words in described)
