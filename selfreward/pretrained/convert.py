"""Makes a Hugging Face checkpoint of a GGUF file. Needs the extra `models`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selfreward.pretrained.wheel import FetchError

_NEEDED = ("gguf", "torch", "transformers")


def check_packages() -> None:
    """Raises FetchError that names the packages which converting needs and which are missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise FetchError(
            f"{', '.join(missing)} is missing: pip install 'selfreward-loop[models]', or `make install` in a checkout"
        )


def convert(gguf: Path, out: Path) -> None:
    """Write the Llama model of `gguf` into the folder `out`: weights in bfloat16, tokenizer, template, configuration.

    Generation ends at the tokenizer's end of turn. The weights are those of the file, dequantised in float32 and
    rounded once.
    """
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers reads the vocabulary, but not the file's `tokenizer.ggml.pre` = smollm: each digit stands alone.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(out)

    # transformers refuses to save a model whose configuration says that it is quantised.
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="bfloat16")
    values = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(key, None)
    model: Any = LlamaForCausalLM.from_pretrained(
        None, config=LlamaConfig(**values), state_dict=loaded.state_dict(), dtype="bfloat16"
    )
    ids = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig.from_dict({**ids, "eos_token_id": tokenizer.eos_token_id})
    model.save_pretrained(out)
