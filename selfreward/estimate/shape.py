"""The shape of a decoder, from its `config.json`: parameters by kind, and activations and cache for each token.

Llama's layout: grouped-query attention, a gated MLP of three matrices, two norms for each layer. Qwen 2 adds biases to
the query, key and value projections. Other layouts (mixtures of experts, for example) are refused.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from selfreward.contracts.base import explain
from selfreward.recipe.recipe import Recipe, RecipeError

_MODEL_TYPES = ("llama", "qwen2", "qwen3", "mistral")


class Shape(BaseModel):
    """The sizes in `config.json` that the estimates use, by the names there. Other keys are ignored.

    `dtype` is the type of the stored weights. `head_dim` is `hidden_size / num_attention_heads` where it is left out.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    model_type: str
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    head_dim: int | None = Field(default=None, ge=1)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    dtype: str = "bfloat16"

    @property
    def stored_bytes(self) -> int:
        """Bytes of one stored weight."""
        return 4 if self.dtype == "float32" else 2

    @property
    def query_width(self) -> int:
        """Features of all query heads together."""
        return self.num_attention_heads * (self.head_dim or self.hidden_size // self.num_attention_heads)

    @property
    def key_width(self) -> int:
        """Features of all key heads together, and of all value heads."""
        return self.num_key_value_heads * (self.head_dim or self.hidden_size // self.num_attention_heads)

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each linear map of a layer: query, key, value, output, gate, up, down."""
        hidden, inner = self.hidden_size, self.intermediate_size
        attention = [(hidden, self.query_width), *[(hidden, self.key_width)] * 2, (self.query_width, hidden)]
        return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]

    @property
    def parameters(self) -> int:
        """All parameters, embeddings included."""
        biased = self.attention_bias or self.model_type == "qwen2"
        biases = self.query_width + 2 * self.key_width if biased else 0
        norms = 2 * self.hidden_size
        if self.model_type == "qwen3":
            norms += 2 * (self.query_width // self.num_attention_heads)
        layer = sum(inputs * outputs for inputs, outputs in self.matrices) + biases + norms
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * layer + self.hidden_size

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of LoRA adapters of this rank on every linear map but the output head."""
        return self.num_hidden_layers * rank * sum(inputs + outputs for inputs, outputs in self.matrices)

    @property
    def kept_values(self) -> int:
        """Values that each layer keeps of one token for the backward pass.

        After Korthikanti et al. 2022 (2205.05198, section 4.1), for a gated MLP and attention that keeps no matrix of
        scores: six of the hidden size (inputs of both norms and of both blocks, queries, attention's result), keys and
        values, and four of the inner size (gate, up, activated gate, their product).
        """
        return 6 * self.hidden_size + 2 * self.key_width + 4 * self.intermediate_size

    @property
    def cached_values(self) -> int:
        """Values that one token has in the engine's key-value cache."""
        return 2 * self.num_hidden_layers * self.key_width


def _known(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, **more: object) -> Shape:
    return Shape.model_validate(
        {
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary,
            **more,
        }
    )


KNOWN = {
    "smollm2": _known(576, 1536, 30, 9, 3, 49152, tie_word_embeddings=True),
    "qwen2.5-0.5b": _known(896, 4864, 24, 14, 2, 151936, model_type="qwen2", tie_word_embeddings=True),
    "llama-3-8b": _known(4096, 14336, 32, 32, 8, 128256),
    "llama-3-70b": _known(8192, 28672, 80, 64, 8, 128256),
}
"""Shapes of models that the shipped recipes name, by the beginning of their folder's name in lower case."""


def shape_of(recipe: Recipe, config: Path | None = None) -> Shape:
    """The shape of a recipe's model: of `config` if given, else of its folder, else a known one by the folder's name.

    Raises RecipeError when there is none, or when it has another layout.
    """
    file = config or Path(recipe.model) / "config.json"
    if file.is_file():
        return _read(file)
    if config is not None:
        raise RecipeError(f"--config {config} does not exist; give the config.json of a checkpoint")
    name = Path(recipe.model).name.lower()
    for beginning, shape in KNOWN.items():
        if name.startswith(beginning):
            return shape
    raise RecipeError(
        f"model = {recipe.model!r} is not here and its shape is not known (known are {', '.join(KNOWN)}): download its "
        "config.json and give it with --config"
    )


def _read(file: Path) -> Shape:
    values = json.loads(file.read_text())
    if values.get("model_type") not in _MODEL_TYPES:
        raise RecipeError(
            f"{file}: model_type = {values.get('model_type')!r} is of another layout: only {', '.join(_MODEL_TYPES)} "
            "can be estimated"
        )
    values.setdefault("num_key_value_heads", values.get("num_attention_heads"))
    values.setdefault("dtype", values.get("torch_dtype") or "bfloat16")
    try:
        return Shape.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{file}:\n{explain(error)}") from error
