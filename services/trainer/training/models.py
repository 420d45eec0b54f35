"""Loading of checkpoints for training: complete or not at all, and nothing that they could run as a program.

`trust_remote_code` is given, because transformers asks the terminal where it is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.trainer.training.checks import JobRefused


def load_model(folder: Path, dtype: torch.dtype, device_map: str | None = None) -> Any:
    """The model of a folder in `dtype`, on the CPU unless a `device_map` places it.

    Refuses weights that lack a tensor: it would be filled with random numbers.
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
    """The folder's model in `dtype` with other weights, gathered from the processes that held a part of them each."""
    model = load_model(folder, dtype)
    model.load_state_dict(tensors)
    return model


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that a checkpoint was saved in, by its config; float32 when it does not say."""
    dtype = AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def context_length(folder: Path) -> int:
    """The longest sequence the model was built for, in tokens."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return int(config.get_text_config().max_position_embeddings)
