"""The checks outside the Makefile, of pre-commit and of the CI workflow, are those of the Makefile."""

import re
import shlex
from typing import Any

import yaml

from tests.support.places import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()


def recipe(target: str) -> list[str]:
    """The command lines of a target."""
    (lines,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip().removeprefix("@") for line in lines.splitlines()]


def test_pre_commit_runs_every_tool_of_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    hooks: list[dict[str, Any]] = repo["hooks"]
    ours = {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks}
    of_lint = set(re.findall(r"\$\(VENV\)/bin/([\w-]+)", "\n".join(recipe("lint"))))

    assert of_lint <= ours
    (exclusions,) = re.findall(r"^NO_SECRETS := (.+)$", MAKEFILE, re.MULTILINE)
    (arguments,) = [hook["args"] for hook in hooks if hook["id"] == "secrets"]
    assert arguments == shlex.split(exclusions.replace("$$", "$"))


def test_the_workflow_calls_ci_run_and_check_on_each_python() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}

    assert commands == {"all": [".ci/run"], "check": ["make check PYTHON=python${{ matrix.python }}"]}
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert jobs["check"]["strategy"]["matrix"]["python"] == ["3.12", "3.13"]
