"""What training computes in: the job's choice, or by the machine and the base model."""

import json
from pathlib import Path

import pytest
import torch

from selfreward.contracts.optimisation import Lora
from selfreward.contracts.training import DpoHyper
from services.trainer.training.arguments import load_start, with_precision
from services.trainer.training.masters import load_master
from services.trainer.training.models import load_model
from tests.support.checkpoints import copy_of
from tests.support.places import M0

ARGUMENTS = "services.trainer.training.arguments"


def base(tmp_path: Path, dtype: torch.dtype) -> Path:
    copy_of(M0)(tmp_path)
    load_model(M0, dtype).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "stored", "fast", "expected"),
    [
        (None, "bfloat16", True, True),
        (None, "float16", True, True),
        (None, "float32", True, False),
        (None, "bfloat16", False, False),
        (True, "float32", False, True),
        (False, "bfloat16", True, False),
    ],
)
def test_bf16_by_job_machine_and_model(
    asked: bool | None, stored: str, fast: bool, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{ARGUMENTS}.computes_bf16", lambda: fast)
    config = json.loads((M0 / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "dtype": stored}))
    assert with_precision(DpoHyper(bf16=asked), tmp_path).bf16 is expected


def test_full_training_starts_from_the_master_in_any_precision(tmp_path: Path) -> None:
    folder = base(tmp_path, torch.bfloat16)
    expected = load_master(folder).state_dict()
    for bf16 in (True, False):
        started = load_start(DpoHyper(bf16=bf16), folder).state_dict()
        assert all(torch.equal(started[name], value) for name, value in expected.items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a CPU does")
def test_adapters_stand_on_the_served_weights_where_they_are_fast(tmp_path: Path) -> None:
    folder = base(tmp_path, torch.bfloat16)
    assert load_start(DpoHyper(bf16=True, lora=Lora()), folder).dtype == torch.bfloat16
    assert load_start(DpoHyper(bf16=False, lora=Lora()), folder).dtype == torch.float32
