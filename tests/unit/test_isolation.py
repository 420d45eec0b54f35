"""Who may import what: the loop can never reach the checker, the light services never load torch or vLLM, and parts
share nothing but `selfreward`.

Checked twice: by importing every module of a package in a fresh process that refuses the forbidden names, and by
reading the source for imports that only happen later, inside functions.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "vllm")
PARTS = ("services.generator", "services.judge", "services.trainer", "orchestrator", "examples", "bench")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "selfreward": (*PARTS, "services", "tests", *HEAVY),
    "services.judge": ("examples", "tests", "bench", "orchestrator", "selfreward.evaluation", *HEAVY),
    "services.generator": ("examples", "tests", "bench", "orchestrator", "selfreward.evaluation"),
    "services.trainer": ("examples", "tests", "bench", "orchestrator", "selfreward.evaluation"),
    # Its image has neither NumPy nor Arrow: together they outweigh all else that it needs.
    "orchestrator": ("examples", "tests", "bench", "services", "selfreward.evaluation", "numpy", "pyarrow", *HEAVY),
    "selfreward.evaluation": ("examples", "tests", "bench", "services", "orchestrator"),
}
"""What each package must not import, by prefix of dotted names."""
for _service in ("judge", "generator", "trainer"):
    _others = tuple(part for part in PARTS if part.startswith("services.") and part != f"services.{_service}")
    FORBIDDEN[f"services.{_service}"] += _others

# The generator and the trainer load torch, which takes long; their source is read instead.
IMPORTED_IN_A_PROCESS = ("selfreward", "services.judge", "orchestrator", "selfreward.evaluation")

GUARD = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        for prefix in {forbidden!r}:
            if name == prefix or name.startswith(prefix + "."):
                raise ImportError(f"{package} imports {{name}}, which it must not")
        return None

sys.meta_path.insert(0, Refuse())
for module in {modules!r}:
    importlib.import_module(module)
loaded = [name for name in {forbidden!r} if name in sys.modules]
assert not loaded, loaded
"""


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package.replace(".", "/")).rglob("*.py"))


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import in a file, at whatever depth; `from a import b` names both a and a.b."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write imports as full paths"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr) in ("__import__", "import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_source_imports_nothing_forbidden(package: str) -> None:
    assert _files(package), f"{package} has no source"
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in _files(package)
        for line, name in _imports(file)
        if _within(name, FORBIDDEN[package])
    ]
    assert wrong == []


@pytest.mark.parametrize("package", IMPORTED_IN_A_PROCESS)
def test_importing_every_module_loads_nothing_forbidden(package: str) -> None:
    """Transitive imports count too: a library that pulls torch in would fail here."""
    modules = [_module(file) for file in _files(package) if file.name != "__main__.py"]
    source = GUARD.format(forbidden=FORBIDDEN[package], package=package, modules=modules)
    ended = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_the_guard_itself_catches_an_import() -> None:
    source = GUARD.format(forbidden=("examples",), package="test", modules=["examples.countdown.checker"])
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "test imports examples" in ended.stderr
