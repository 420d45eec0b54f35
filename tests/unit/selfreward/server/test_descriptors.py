"""The limit of open descriptors, in a process of its own, whose limit may be changed."""

import subprocess
import sys

import pytest


def run(soft: int, hard: int, code: str) -> str:
    start = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
    start += "from selfreward.server.descriptors import *; "
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("hard", "expected"), [(1024, 1024), (4096, 4096)])
def test_the_soft_limit_is_raised_for_the_process_and_its_children(hard: int, expected: int) -> None:
    code = "raise_descriptor_limit(); import os; os.system('ulimit -Sn')"
    assert run(256, hard, code).strip() == str(expected)


def test_a_bound_is_lowered_to_what_fits_and_the_log_says_so() -> None:
    code = "import logging; logging.basicConfig(stream=__import__('sys').stdout); "
    code += "print(bound_by_descriptors('SELFREWARD_MAX_INFLIGHT', 2048, 2), bound_by_descriptors('X', 100, 2))"
    lines = run(1024, 1024, code).splitlines()
    assert lines[-1] == "320 100"
    assert len([line for line in lines if "ulimit" in line]) == 1
