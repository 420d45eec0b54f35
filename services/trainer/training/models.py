"""Loads checkpoints: complete or not at all, and no code of theirs.

`trust_remote_code` is always given, because transformers asks the terminal where it is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.trainer.training.checks import JobRefused


def load_model(folder: Path, dtype: torch.dtype, device_map: str | None = None) -> Any:
    """The model of a folder in `dtype`, on the CPU unless a `device_map` places it.

    Raises JobRefused for weights that lack a tensor, which transformers would fill with random numbers.
    """
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        device_map=device_map,
    )
    model, report = loaded
    for problem in ("missing_keys", "mismatched_keys"):
        if report[problem]:
            names = ", ".join(sorted(str(name) for name in report[problem])[:5])
            raise JobRefused(f"{folder}: {problem.replace('_', ' ')} in the weights: {names}; publish it again")
    return model


def whole_model(folder: Path, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Any:
    """The folder's model in `dtype` with other weights: `tensors` gathered from processes that each held a part."""
    model = load_model(folder, dtype)
    model.load_state_dict(tensors)
    return model


def served_dtype(folder: Path) -> torch.dtype:
    """The dtype to serve a checkpoint in, by its config; float32 when it does not say. Its weights may be float32."""
    dtype = AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def context_length(folder: Path) -> int:
    """The longest sequence that the model was built for, in tokens."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return int(config.get_text_config().max_position_embeddings)
