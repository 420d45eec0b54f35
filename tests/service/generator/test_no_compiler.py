"""The engine on a CPU where there is no C++ compiler, as in the generator's image."""

import os
import subprocess
import sys
from pathlib import Path

from services.generator.engine.process import engine_environment
from services.generator.settings import GeneratorSettings

RANKS = """
import torch
from vllm.v1.sample.ops.logprobs import batched_count_greater_than

print(batched_count_greater_than(torch.tensor([[-1.0, -3.0, -2.0]]), torch.tensor([[-2.0]])).tolist())
"""


def test_log_probabilities_are_ranked_without_a_compiler(tmp_path: Path) -> None:
    inherited = {**os.environ, "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    environment = engine_environment(GeneratorSettings(), inherited, str(tmp_path))
    command = [sys.executable, "-c", RANKS]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.strip() == "[2]"
