"""The nucleus against its definition."""

from importlib.util import find_spec
from math import log
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: on a second Python")


def nuclei(logits: list[list[float]], p: list[float]) -> list[list[int]]:
    import torch

    from services.generator.engine.top_p import keep_nucleus

    given = torch.tensor(logits)
    masked = given.clone()
    assert keep_nucleus(masked, torch.tensor(p)) is masked
    kept = masked > -torch.inf
    assert torch.equal(masked[kept], given[kept])
    return [row.nonzero().flatten().tolist() for row in kept]


def nucleus(logits: list[float], p: float) -> list[int]:
    (kept,) = nuclei([logits], [p])
    return kept


@pytest.mark.parametrize(
    ("p", "kept"), [(0.05, [1]), (0.5, [1]), (0.51, [1, 2]), (0.79, [1, 2]), (0.81, [0, 1, 2]), (0.9999, [0, 1, 2, 3])]
)
def test_the_fewest_best_tokens_that_reach_the_mass_stay(p: float, kept: list[int]) -> None:
    assert nucleus([log(share) + 3 for share in (0.15, 0.5, 0.3, 0.05)], p) == kept


def test_more_tokens_than_are_looked_at_first_may_be_needed() -> None:
    from services.generator.engine.top_p import CANDIDATES

    alike = [(-1e-4) * place for place in range(4 * CANDIDATES)]
    kept = nucleus(alike, 0.5)
    assert kept == list(range(len(kept)))
    assert CANDIDATES < len(kept) < 2 * CANDIDATES


def test_tokens_that_are_as_probable_as_the_last_one_stay() -> None:
    assert nucleus([1.0, 2.0, 1.0], 0.6) == [0, 1, 2]


def test_each_row_has_its_own_nucleus() -> None:
    from services.generator.engine.top_p import CANDIDATES

    size = 4 * CANDIDATES
    sharp = [20.0 if place in (3, size - 1) else 0.0 for place in range(size)]
    alike = [(-1e-4) * place for place in range(size)]
    few, half, one = nuclei([sharp, alike, sharp], [0.9, 0.5, 0.1])
    assert few == one == [3, size - 1]
    assert half == nucleus(alike, 0.5)
    assert len(half) > CANDIDATES


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed: on a second Python (make unit-other)")
def test_only_requests_with_the_argument_are_masked_wherever_their_row_goes() -> None:
    import torch
    from vllm import SamplingParams
    from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

    from services.generator.engine.nucleus import ARGUMENT, Nucleus

    def masked(rows: int) -> list[int]:
        logits = processor.apply(torch.tensor([[2.0, 1.0, 0.0]]).repeat(rows, 1))
        return [row for row, kept in enumerate((logits > -torch.inf).sum(-1).tolist()) if kept == 1]

    narrow = SamplingParams(extra_args={ARGUMENT: 0.1})
    processor = Nucleus(None, None, False)
    assert masked(2) == []
    added: Any = [(0, narrow, [], []), (1, SamplingParams(), [], []), (2, narrow, [], [])]
    processor.update_state(BatchUpdate(batch_size=3, removed=[], added=added, moved=[]))
    assert masked(3) == [0, 2]
    moved = [(2, 1, MoveDirectionality.SWAP)]
    processor.update_state(BatchUpdate(batch_size=3, removed=[], added=[], moved=moved))
    assert masked(3) == [0, 1]
    assert masked(2) == [0, 1]
    processor.update_state(BatchUpdate(batch_size=1, removed=[1, 2], added=[], moved=[]))
    assert masked(1) == [0]
