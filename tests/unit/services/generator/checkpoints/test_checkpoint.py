"""What makes two checkpoints exchangeable, and what does not matter."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfreward.store.manifest import InvalidArtifact
from services.generator.checkpoints.checkpoint import Facts, architecture, compare, read_facts

CONFIG = {"model_type": "llama", "hidden_size": 4, "rope_theta": 1e4, "tie_word_embeddings": True}
TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "truncation": None, "padding": None}
TEMPLATE = "{{ messages }}"


def folder(path: Path, config: dict[str, Any] = CONFIG, tokenizer: dict[str, Any] = TOKENIZER, **tensors: Any) -> Facts:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (path / "chat_template.jinja").write_text(TEMPLATE)
    save_file(tensors or {"embed": np.ones((2, 4), np.float32)}, path / "model.safetensors")
    return read_facts(path)


def test_rotary_settings_are_the_same_in_both_spellings() -> None:
    old = architecture({**CONFIG, "rope_scaling": None})
    new = {name: value for name, value in CONFIG.items() if name != "rope_theta"}
    new = {**new, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}, "dtype": "float32"}
    assert architecture(new) == old


def test_what_a_trainer_rewrites_does_not_matter(tmp_path: Path) -> None:
    served = folder(tmp_path / "a")
    tokenizer = {**TOKENIZER, "truncation": {"max_length": 8}, "padding": {"pad_id": 0}}
    written = folder(tmp_path / "b", {**CONFIG, "use_cache": False, "transformers_version": "9"}, tokenizer)
    compare(written, served, tmp_path)
    # The template may stand in either file.
    (tmp_path / "b" / "chat_template.jinja").unlink()
    (tmp_path / "b" / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE, "is_local": True}))
    compare(read_facts(tmp_path / "b"), served, tmp_path)


def test_a_tied_head_may_be_written_or_not(tmp_path: Path) -> None:
    embedding: Any = np.ones((2, 4), np.float32)
    served = folder(tmp_path / "a", embed=embedding)
    compare(folder(tmp_path / "b", embed=embedding, **{"lm_head.weight": embedding}), served, tmp_path)


@pytest.mark.parametrize(
    ("config", "tokenizer", "message"),
    [
        ({**CONFIG, "hidden_size": 8}, TOKENIZER, "config hidden_size = 8, served is 4"),
        ({**CONFIG, "rope_theta": 5e5}, TOKENIZER, "config rope.rope_theta = 500000.0"),
        (CONFIG, {**TOKENIZER, "model": {"vocab": {"a": 1, "b": 0}}}, "tokenizer or chat template"),
    ],
)
def test_what_does_matter(tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any], message: str) -> None:
    served = folder(tmp_path / "a")
    with pytest.raises(InvalidArtifact) as error:
        compare(folder(tmp_path / "b", config, tokenizer), served, tmp_path / "b")
    assert message in str(error.value)


def test_folders_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"config\.json is missing"):
        read_facts(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InvalidArtifact, match="not a JSON object"):
        read_facts(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidArtifact, match=r"neither model\.safetensors nor"):
        read_facts(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(InvalidArtifact, match="no weight_map"):
        read_facts(tmp_path)


def test_an_index_cannot_reach_outside_its_folder(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    folder(inside)
    (inside / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"weight_map": {"embed": "../outside.safetensors"}}
    (inside / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidArtifact, match="is missing"):
        read_facts(inside)
