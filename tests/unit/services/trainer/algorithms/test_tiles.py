"""TRL's fused head in small tiles over the learned tokens alone: the same loss and gradients as from whole logits."""

from typing import Any

import pytest
import torch
from trl.kernels import chunked_logprob as kernels
from trl.trainer import utils as trl_utils

from services.trainer.algorithms import tiles
from services.trainer.training.data import IGNORED
from services.trainer.training.models import load_model
from tests.support.places import M0

chunked_logprob: Any = kernels
utils: Any = trl_utils


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a CPU does")
def test_small_tiles_change_no_loss_and_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is changed must be there, and is as before after the test.
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", chunked_logprob.TOKEN_CHUNK_SIZE)
    monkeypatch.setattr(utils, "_use_triton", utils._use_triton)
    monkeypatch.setattr(tiles, "CPU_TOKENS", 5)
    tiles.fit_to_cpu()
    ids = torch.randint(3, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :7], labels[2, :] = IGNORED, IGNORED
    fold, scored = chunked_logprob._forward_tile, []

    def noting(tile: torch.Tensor, *arguments: Any, **flags: Any) -> None:
        scored.append(len(tile))
        fold(tile, *arguments, **flags)

    monkeypatch.setattr(chunked_logprob, "_forward_tile", noting)
    fused, whole = load_model(M0, torch.float32), load_model(M0, torch.float32)
    utils.add_fused_lm_head(fused)
    losses = [fused(input_ids=ids, labels=labels, fused_lm_head=True).loss, whole(input_ids=ids, labels=labels).loss]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    gradients = zip(fused.named_parameters(), whole.named_parameters(), strict=True)
    assert all(torch.allclose(a.grad, b.grad, atol=1e-5) for (_, a), (_, b) in gradients)
    # Five learned tokens of the first row and eleven of the second, five at a time.
    assert scored == [5, 5, 5, 1]
