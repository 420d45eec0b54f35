"""Runs inside the engine's workers (vLLM `--worker-extension-cls`): reloads weights, tied ones included.

vLLM 0.32's `reload_weights` skips a layer for which the checkpoint has no tensor of its own. A tied `lm_head` is one,
and on the CPU it computes with a packed copy of the embedding that was made when the engine started: after a reload
it would go on with the old weights, silently. So tied layers are packed again here.
"""

from pathlib import Path
from typing import Any

from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod


class WeightReload:
    """Mixed into vLLM's worker class, whose `reload_weights` and `model_runner` it uses."""

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
