"""Honest code is judged as it is: files of popular libraries come back byte for byte from a filled prompt."""

import json
import random
from importlib.util import find_spec
from pathlib import Path

import pytest

from selfreward.contracts.judging import JudgeItem
from services.judge.rubrics.rubric import SHIPPED, load_rubric
from services.judge.rubrics.special_tokens import SpecialTokens
from tests.support.places import M0

MOST_FILES = 250
RUBRIC = load_rubric(SHIPPED / "additive5")
TOKENS = {added["content"] for added in json.loads((M0 / "tokenizer.json").read_text())["added_tokens"]}


@pytest.mark.parametrize("package", ["numpy", "pandas", "transformers", "vllm"])
def test_no_file_of_a_library_is_changed(package: str) -> None:
    """Except those that spell a special token of the engine's tokenizer."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    files = sorted(Path(spec.origin).parent.rglob("*.py"))
    texts = [file.read_bytes().decode() for file in random.Random(0).sample(files, min(MOST_FILES, len(files)))]

    def changed(tokens: SpecialTokens) -> list[str]:
        def is_kept(text: str) -> bool:
            return text in RUBRIC.prompt(JudgeItem(prompt="Review this file.", response=text), tokens)

        return [text for text in texts if not is_kept(text)]

    assert sum(map(len, texts)) > 100_000
    assert changed(SpecialTokens(frozenset())) == []
    spelling = [text for text in texts if any(token in text for token in TOKENS)]
    assert changed(SpecialTokens(frozenset(TOKENS))) == spelling
