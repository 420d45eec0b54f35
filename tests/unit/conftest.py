"""Without torch, as on a second Python (`make unit-other`), the files that import it are left out and listed."""

import importlib.util

import pytest

_TORCH = (
    "examples/worlds/countdown/test_method_claims.py",
    "examples/worlds/countdown/test_methods.py",
    "selfreward/store/test_pickles.py",
    "services/trainer/algorithms/test_ppo.py",
    "services/trainer/algorithms/test_ppo_losses.py",
    "services/trainer/algorithms/test_soft_labels.py",
    "services/trainer/training",
    "services/trainer/worker/test_launch.py",
)

collect_ignore = [] if importlib.util.find_spec("torch") else [*_TORCH]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if collect_ignore:
        terminalreporter.section("left out, since torch is not installed")
        terminalreporter.write("".join(f"tests/unit/{name}\n" for name in collect_ignore))
