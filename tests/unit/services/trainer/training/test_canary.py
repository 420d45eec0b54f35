"""A canary's tolerance lies between rounding and wrong weights, for a trained model and for one that knows nothing."""

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from selfreward.contracts.base import Message
from selfreward.store.manifest import Canary
from services.generator.checkpoints.canary import LISTED, difference
from services.trainer.training.canary import CANDIDATES, TOKENS, make_canary
from services.trainer.training.checks import load_tokenizer, render
from services.trainer.training.models import load_model
from tests.support.places import M0

PROMPTS = [[Message(role="user", content=text)] for text in ("Use 7 3 12 to make 33 .", "Use 5 9 20 to make 25 .")]


def trained() -> Any:
    return load_model(M0, torch.float32)


def untrained() -> Any:
    torch.manual_seed(0)
    random: Any = AutoModelForCausalLM
    return random.from_config(AutoConfig.from_pretrained(M0)).float()


def told(model: Any, tokenizer: Any, canary: Canary) -> list[dict[int, float]]:
    """What a model says along a canary's answer, as an engine lists it."""
    ids, answer = render(tokenizer, canary.messages, answer_next=True), canary.token_ids
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([ids + answer[:-1]])).logits[0, -len(answer) :]
    best = logits.float().log_softmax(-1).topk(LISTED)
    return [dict(zip(*row, strict=True)) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


@pytest.mark.parametrize("make", [trained, untrained])
@pytest.mark.parametrize("messages", PROMPTS, ids=["first", "second"])
def test_right_weights_pass_in_either_dtype_and_wrong_ones_do_not(make: Any, messages: list[Message]) -> None:
    tokenizer = load_tokenizer(M0, messages)
    model = make()
    canary = make_canary(model, tokenizer, messages, torch.float32)
    assert 1 <= len(canary.token_ids) <= TOKENS
    assert [len(place) for place in canary.candidates] == [CANDIDATES] * len(canary.token_ids)
    assert model.dtype == torch.bfloat16
    assert difference(canary.candidates, told(make(), tokenizer, canary)) < 1e-3
    assert difference(canary.candidates, told(model, tokenizer, canary)) < 0.5 * canary.tolerance
    wrong = make()
    for layer in wrong.model.layers:
        layer.mlp.down_proj.weight.data.zero_()
    assert difference(canary.candidates, told(wrong, tokenizer, canary)) > canary.tolerance


def test_a_canary_survives_its_manifest() -> None:
    canary = make_canary(trained(), load_tokenizer(M0, PROMPTS[0]), PROMPTS[0], torch.float16)
    assert Canary.model_validate_json(canary.model_dump_json()) == canary
