"""Moving weights off a half-precision grid, and the share of an update that serving keeps, by hand and by chance."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from services.trainer.training.masters import load_master, merged_master, off_grid, update_kept
from services.trainer.training.models import load_model
from tests.support.places import M0

BF16, FP16 = torch.bfloat16, torch.float16
STEP = 1e-6
"""An update of every weight: at 0.02 neighbours in bf16 are 1.2e-4 apart."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The demo's base model as most models are published: in bf16."""
    folder = Path(shutil.copytree(M0, tmp_path / "base"))
    load_model(M0, BF16).save_pretrained(folder)
    return folder


def published(model: torch.nn.Module, parent: Path, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    shutil.copytree(parent, folder)
    tensors = {name: value.to(dtype) for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def updated(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += STEP * torch.randn(parameter.shape, generator=generator).sign()
    return model


def along(start: dict[str, torch.Tensor], end: dict[str, torch.Tensor], update: dict[str, torch.Tensor]) -> float:
    """The projection on `update` of the change from `start` to `end`, both as bf16 serves them."""
    served = {name: end[name].to(BF16).double() - value.to(BF16).double() for name, value in start.items()}
    parts = [(float((served[name] * u).sum()), float(u.double().square().sum())) for name, u in update.items()]
    return sum(part for part, _ in parts) / sum(part for _, part in parts)


@pytest.mark.parametrize("dtype", [BF16, FP16])
def test_weights_off_the_grid_round_to_what_they_were(dtype: torch.dtype) -> None:
    value = torch.randn(1000, 100, generator=torch.Generator().manual_seed(0)).mul(0.02).to(dtype).float()
    # At a power of two the neighbours are not equally far; the largest and the smallest must not leave their place.
    value[0, :6] = torch.tensor([0.0, 1.0, -0.5, 2**-14, 60000.0, -(2**-24)]).to(dtype).float()
    moved = off_grid("a", value, dtype)
    assert torch.equal(moved.to(dtype).float(), value)
    assert moved[0, 0] == 0
    distance = (moved - value)[1:] / value[1:].abs().clamp(min=1e-3)
    assert abs(float(distance.mean())) < 1e-4
    assert float((moved != value).float().mean()) > 0.99
    # What is off the grid stays, and the same name gives the same draw.
    assert off_grid("a", moved, dtype) is moved
    assert torch.equal(off_grid("a", value, dtype), moved)
    assert not torch.equal(off_grid("b", value, dtype), moved)


def test_float32_models_are_left_alone() -> None:
    value = torch.ones(3)
    assert off_grid("a", value, torch.float32) is value
    expected = load_file(M0 / "model.safetensors")
    loaded = load_master(M0).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_serving_keeps_small_updates_of_masters_only(base: Path, tmp_path: Path) -> None:
    model = updated(load_master(base), seed=1)
    assert update_kept(model, base, published(model, base, tmp_path / "master")) == pytest.approx(1, abs=0.05)
    # As it would be without the move: the same update of weights that lie on the grid.
    start = load_model(base, torch.float32).state_dict()
    end = updated(load_model(base, torch.float32), seed=1).state_dict()
    assert along(start, end, {name: end[name] - value for name, value in start.items()}) < 0.1


def test_three_small_updates_add_up_in_what_is_served(base: Path, tmp_path: Path) -> None:
    parent = base
    for number in range(3):
        model = updated(load_master(parent), seed=1)
        child = published(model, parent, tmp_path / f"m{number}")
        assert update_kept(model, parent, child) == pytest.approx(1, abs=0.05)
        parent = child
    first, last = load_model(base, torch.float32).state_dict(), load_model(parent, torch.float32).state_dict()
    direction = updated(load_model(base, torch.float32), seed=1).state_dict()
    assert along(first, last, {name: direction[name] - value for name, value in first.items()}) == pytest.approx(
        3, abs=0.1
    )


def test_the_share_by_hand(tmp_path: Path) -> None:
    """A weight whose update is served, and one whose update is not: 0.25 is 2^-2, where neighbours are 2^-9 apart."""
    parent, child = tmp_path / "parent", tmp_path / "child"
    for folder, values in ((parent, [0.2501, 0.2501]), (child, [0.2501 + 2**-9, 0.2501 + 2**-11])):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
        save_file({"weight": torch.tensor([values])}, folder / "model.safetensors")
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.data = load_file(child / "model.safetensors")["weight"]
    assert update_kept(model, parent, child) == pytest.approx(16 / 17, rel=1e-3)
    model.weight.data = load_file(parent / "model.safetensors")["weight"]
    assert update_kept(model, parent, child) is None


def test_adapters_are_merged_into_the_master_without_rounding(base: Path) -> None:
    trained = get_peft_model(load_model(base, BF16), LoraConfig(r=2, target_modules="all-linear"))
    assert isinstance(trained, PeftModel)
    for name, parameter in trained.named_parameters():
        if "lora_" in name:
            parameter.data = torch.full_like(parameter, 1e-3)
    merged, before = merged_master(trained, base).state_dict(), load_master(base).state_dict()
    changed = {name: value - before[name] for name, value in merged.items() if not torch.equal(value, before[name])}
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert not any("embed" in name or "norm" in name for name in changed)
    # lora_alpha / r is 4, and the product of two adapters of rank 2 is 2e-6: a fifteenth of a step of bf16.
    assert all(torch.allclose(value, torch.full_like(value, 8e-6), atol=3e-7) for value in changed.values())
