"""What PPO is fed, and the value head that it puts on a model and takes off again."""

from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from selfreward.contracts.reinforcement import RlHyper
from services.trainer.algorithms.ppo import add_value_head, drop_value_head, question_order, stop_ids
from services.trainer.training.models import load_model
from tests.support.places import M0


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(M0)


def test_each_batch_holds_whole_groups_and_comes_as_often_as_it_is_trained_on(tokenizer: Any) -> None:
    rows = [{"prompt_id": f"q{n}", "prompt": [{"role": "user", "content": f"Use {n} 3 ."}]} for n in range(5)]
    hyper = RlHyper(batch_size=4, group=2, updates=2, epochs=2)
    found = question_order(rows, hyper, tokenizer, seed=0)
    ids = list(found["prompt_id"])
    batches = [ids[start : start + 4] for start in range(0, len(ids), 4)]
    assert len(batches) == 2 * (2 * 5 // 2)
    assert batches[::2] == batches[1::2]
    assert all(batch[0] == batch[1] and batch[2] == batch[3] for batch in batches)
    first_epoch = [batch[place] for batch in batches[:4:2] for place in (0, 2)]
    assert len(set(first_epoch)) == 4
    assert tokenizer.decode(found[0]["prompt_ids"]) == f"<|user|> {found[0]['prompt'][0]['content']} <|assistant|>"
    assert list(question_order(rows, hyper, tokenizer, seed=1)["prompt_id"]) != ids


def test_the_value_head_starts_at_nought_and_leaves_no_trace(tokenizer: Any) -> None:
    model = load_model(M0, torch.float32)
    names = list(model.state_dict())
    add_value_head(model)
    assert set(model.state_dict()) - set(names) == {"value_head.weight", "value_head.bias"}
    assert not model.value_head(torch.randn(2, 128)).any()
    drop_value_head(model)
    assert list(model.state_dict()) == names
    assert stop_ids(model, tokenizer) == [2]
