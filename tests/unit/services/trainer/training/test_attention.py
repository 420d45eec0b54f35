"""float32 attention beside all else in bfloat16."""

import json
from pathlib import Path

import pytest
import torch

from selfreward.contracts.training import DpoHyper
from services.trainer.training.arguments import load_start
from services.trainer.training.attention import FLOAT32
from services.trainer.training.models import load_model
from tests.support.places import M0


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a CPU does")
def test_it_is_in_float32_where_the_rest_is_not_and_leaves_the_checkpoint_alone(tmp_path: Path) -> None:
    model = load_start(DpoHyper(bf16=True), M0)
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    seen = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watch(query: torch.Tensor, *others: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append((query.dtype, torch.is_autocast_enabled("cpu")))
        return attend(query, *others, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", watch)
        logits = model(ids, attention_mask=(ids > 0).long()).logits
    assert set(seen) == {(torch.float32, False)}
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()

    model.save_pretrained(tmp_path)
    assert FLOAT32 not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"


def test_it_attends_as_transformers_own() -> None:
    own, ours = load_model(M0, torch.float32).eval(), load_model(M0, torch.float32).eval()
    ours.set_attn_implementation(FLOAT32)
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    with torch.inference_mode():
        logits = [model(ids, attention_mask=(ids > 0).long()).logits for model in (own, ours)]
        alone = ours(ids[1:, :2]).logits
    assert torch.equal(*logits)
    torch.testing.assert_close(logits[1][1, :2], alone[0])
