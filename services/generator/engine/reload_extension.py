"""Reloads weights inside the engine's workers (vLLM's `--worker-extension-cls`), tied ones included.

vLLM 0.32's `reload_weights` skips a layer for which the checkpoint has no tensor of its own. A tied `lm_head` is such a
layer: on the CPU it computes with a packed copy of the embedding, made when the engine started, and would silently keep
the old weights. So tied layers are packed again here.
"""

from pathlib import Path
from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod


class WeightReload:
    """A mixin of vLLM's worker class, which has `reload_weights` and `model_runner`."""

    reload_weights: Any
    model_runner: Any

    def reload_checkpoint(self, weights_path: str) -> None:
        """Read the weights of a folder into the running model. Raises FileNotFoundError before anything is changed."""
        if not Path(weights_path).is_dir():
            raise FileNotFoundError(f"{weights_path} is not a folder")
        self.reload_weights(weights_path=weights_path)
        for layer in self.model_runner.get_model().modules():
            if isinstance(layer, ParallelLMHead) and isinstance(layer.quant_method, UnquantizedEmbeddingMethod):
                layer.quant_method.process_weights_after_loading(layer)
