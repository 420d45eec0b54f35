"""What each package loads when all of it is imported, libraries included: the light parts neither torch nor vLLM, and
the loop no checker. Who may import whom within the project is in pyproject.toml (`tool.importlinter`), which reads the
source and not what a library pulls in."""

import re
import subprocess
import sys

import pytest

from tests.support.places import ROOT

CHECKERS = ("examples", "bench", "tests")

FORBIDDEN = {
    ("selfreward",): (*CHECKERS, "torch", "vllm"),
    # NumPy and Arrow outweigh all else that their images need.
    ("services.judge", "orchestrator"): (*CHECKERS, "torch", "vllm", "numpy", "pyarrow"),
}
"""What packages must not load, by the first part of the name. The generator and the trainer load torch."""

GUARD = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ImportError(f"{{module}} loads {{name}}, which it must not")
        return None

sys.meta_path.insert(0, Refuse())
for module in {modules!r}:
    importlib.import_module(module)
"""


def _import_all(packages: tuple[str, ...], forbidden: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Import every module of packages in a fresh process that refuses the forbidden names."""
    files = [file for package in packages for file in sorted((ROOT / package.replace(".", "/")).rglob("*.py"))]
    names = [file.relative_to(ROOT).with_suffix("").parts for file in files if file.name != "__main__.py"]
    modules = [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in names]
    assert set(packages) <= set(modules)
    source = GUARD.format(forbidden=forbidden, modules=modules)
    return subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("packages", FORBIDDEN, ids=" and ".join)
def test_importing_every_module_loads_nothing_forbidden(packages: tuple[str, ...]) -> None:
    ended = _import_all(packages, FORBIDDEN[packages])
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_the_guard_itself_catches_an_import() -> None:
    ended = _import_all(("examples.worlds.countdown",), ("selfreward",))
    assert ended.returncode != 0
    assert re.search(r"examples\.worlds\.countdown\.\w+ loads selfreward", ended.stderr)


def test_tests_take_what_they_share_from_no_other_test() -> None:
    shared = re.compile(r"^from (tests\.\S*\btest_\w+) import|^from tests\.\S+ import .*\btest_\w+", re.M)
    sources = {file.relative_to(ROOT): file.read_text() for file in (ROOT / "tests").rglob("*.py")}
    assert [str(file) for file, source in sources.items() if shared.search(source)] == [], "put it into tests/support"
