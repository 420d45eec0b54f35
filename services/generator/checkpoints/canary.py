"""The difference between what an engine says along a canary's answer and what the trainer published."""

import math
from collections.abc import Mapping, Sequence

LISTED = 20
"""Tokens that an engine lists for each place: vLLM's default limit. A canary's candidates are among its first."""


def difference(published: Sequence[Mapping[int, float]], found: Sequence[Mapping[int, float]]) -> float:
    """Root mean square difference of the log-probabilities of all published candidates, in nats.

    Both have one mapping from token id to log-probability for each place. A candidate that the engine does not list is
    no likelier than the least of those that it lists, and counts as that likely.
    """
    squares = [
        (value - seen.get(token, min(seen.values()))) ** 2
        for place, seen in zip(published, found, strict=True)
        for token, value in place.items()
    ]
    return math.sqrt(sum(squares) / len(squares))
