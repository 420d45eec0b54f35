"""The nucleus against its definition."""

from importlib.util import find_spec
from math import log

import pytest

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed: on a second Python")


def nucleus(logits: list[float], p: float) -> list[int]:
    import torch

    from services.generator.engine.top_p import keep_nucleus

    given = torch.tensor(logits)
    masked = keep_nucleus(given.clone(), p)
    kept = masked > -torch.inf
    assert torch.equal(masked[kept], given[kept])
    return kept.nonzero().flatten().tolist()


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
