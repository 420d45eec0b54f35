"""Rollouts and log-probabilities with known implicit rewards, which the tests of these methods share."""

from collections.abc import Sequence

from selfreward.contracts.rollouts import ResponseLogprobs
from selfreward.loop import stages
from selfreward.loop.stages import Scorers

BY: Scorers = stages.scorers("one", "M3")
"""M2 scores, M1 did before, M0 is the reference."""
TOKENS = 10


def rows(
    now: Sequence[float], before: Sequence[float], name: str = "p0", by: Scorers = BY
) -> dict[tuple[str, int], ResponseLogprobs]:
    """Log-probabilities by which M_t gives the rewards `now` and M_{t-1} gives `before`."""
    found = {}
    for index, (ours, theirs) in enumerate(zip(now, before, strict=True)):
        base = -20.0 - index
        logprobs = {by.policy: base + ours, by.previous: base + theirs, by.reference: base}
        found[name, index] = ResponseLogprobs(prompt_id=name, index=index, tokens=TOKENS, logprobs=logprobs)
    return found
