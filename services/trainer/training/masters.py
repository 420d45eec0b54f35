"""float32 masters: what full training starts from and publishes, whatever dtype the model is served in.

A checkpoint's weights are float32, and its config.json keeps the base model's dtype, which is the one to serve in: an
engine rounds to it while it loads. If the stored weights were rounded instead, small steps would be lost at each
publish: a step of 1e-6 is a hundredth of the distance between two neighbours in bf16.

Rounding while loading keeps an update only where the masters lie anywhere between the neighbours. The weights of a base
model that was stored in half precision all lie on them, and none of a small update would ever be served. So training
moves such weights off the grid first, each to a random place that still rounds to it: the served model is the same, and
of every later update the rounding keeps, on average, all (stochastic rounding, 1502.02551, with the dice thrown once).
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from safetensors import safe_open

from services.trainer.training.models import load_model, served_dtype

# How many of float32's bits a dtype drops: all values that differ in these alone, by less than half, round to one.
_DROPPED_BITS = {torch.bfloat16: 16, torch.float16: 13}
_CHUNK = 1 << 22


def load_master(folder: Path) -> Any:
    """The model of a folder in float32, off the grid of the dtype that it is served in.

    The same folder gives the same weights each time. Raises JobRefused as `load_model` does.
    """
    model = load_model(folder, torch.float32)
    dtype = served_dtype(folder)
    for name, parameter in model.named_parameters():
        parameter.data = off_grid(name, parameter.data, dtype)
    return model


def off_grid(name: str, value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The float32 tensor `value`, of any shape, moved off the grid of `dtype`; it still rounds to the same values.

    Returned as it is where `dtype` has no coarser grid, or where a value is off the grid: then training has moved the
    tensor before. Zeros stay. `name` seeds the draw.
    """
    bits = _DROPPED_BITS.get(dtype)
    if bits is None or not torch.equal(value.to(dtype).float(), value):
        return value
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    half = (1 << (bits - 1)) - 1
    offset = torch.randint(-half, half + 1, value.shape, generator=generator, dtype=torch.int32)
    moved = (value.contiguous().view(torch.int32) + offset).view(torch.float32)
    return torch.where(value == 0, value, moved)


def merged_master(model: PeftModel, parent: Path) -> Any:
    """The parent's master with the trained LoRA adapters of `model` added, in float32 on the CPU.

    The frozen weights that the adapters were trained on may be a rounded copy: nothing of the adapters is rounded.
    """
    whole = load_master(parent)
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, Linear):
            weight = whole.get_submodule(name).weight
            for adapter in layer.active_adapters:
                weight.data += layer.get_delta_weight(adapter).to("cpu", torch.float32)
    return whole


def update_kept(model: Any, parent: Path, published: Path) -> float | None:
    """The share of an update that the served weights keep; 1 where nothing is lost.

    With u the trained weights of `model` less the master that training started from (`parent`), and s the weights that
    are served from the folder `published` less those that are served from `parent`, both folders rounded to the dtype
    of their config.json: <s, u> / <u, u>, over all tensors that have one name in memory and in both folders. So it
    falls when stored weights are rounded, and when rounding for serving swallows an update. Noise moves it a little
    above 1 as well. None when nothing was changed.
    """
    dtype = served_dtype(published)
    start, end = dict(_tensors(parent)), dict(_tensors(published))
    kept = whole = 0.0
    for name, value in model.state_dict().items():
        if name not in start or name not in end:
            continue
        before, after = (safe.get_tensor(name).float() for safe in (start[name], end[name]))
        update = value.detach().to("cpu", torch.float32) - off_grid(name, before, dtype)
        served = after.to(dtype).float() - before.to(dtype).float()
        # In float64, a part at a time.
        for u, s in zip(update.flatten().split(_CHUNK), served.flatten().split(_CHUNK), strict=True):
            whole += float(u.double().square().sum())
            kept += float(s.double() @ u.double())
    return kept / whole if whole else None


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """The name of each tensor of a folder, and the open file that has it."""
    for file in sorted(folder.glob("*.safetensors")):
        opened: Any = safe_open(file, framework="pt")
        for name in opened.keys():  # noqa: SIM118 - it is no mapping
            yield name, opened
