"""What commands run of the services, which are in a checkout or an image and not in the package."""

import importlib.util
import subprocess
import sys

from selfreward.cli.output import stderr


def run_of_the_judge(module: str, command: str, *arguments: str) -> int:
    """Run a program of the judge in a process of its own, since the library imports no service. Returns its status."""
    if importlib.util.find_spec("services") is None:
        stderr.print(f"the judge is not in the package: run `{command}` in a checkout", markup=False)
        return 2
    return subprocess.run([sys.executable, "-m", module, *arguments]).returncode
