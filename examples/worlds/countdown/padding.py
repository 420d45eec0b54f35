"""A test of length control against padding: a simulated judge who likes length compares answers with padded copies."""

import math
import random
from collections.abc import Sequence
from statistics import correlation

from examples.worlds.claims import Claim
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.models.answer_files import Duel
from selfreward.evaluation.models.win_rate import win_rates
from selfreward.evaluation.report.inputs import ReportError, load_run
from selfreward.store.artifacts import ArtifactStore

_UNMOVED = 0.03
"""Win rates within 3 points count as equal."""
_PADDING = " indeed" * 5
_CHARACTERS = 15
"""The number of additional characters that the judge values as much as one point."""


def padding_claim(store: ArtifactStore, seed: int, other: int = 0, resamples: int = 100) -> Claim:
    """Whether padding raises the raw win rate and leaves the length-controlled win rate unchanged.

    Each of M1's answers is compared with the answer `other` places further on, first unchanged, then with five more
    words on half of the answers. The judge's preference is a logistic function: one point or 15 characters add one
    logit.

    If points and length of the answers correlate, the regression cannot separate them, and the claim fails against
    other answers. That is a limit of length control.
    """
    m1 = next(model for model in load_run(store, f"m1-{seed}").models if model.name == "M1")
    if m1.labels is None:
        raise ReportError(f"run m1-{seed} has no checker's labels: label it first")
    # The same duels, plain and padded, with the points between the two answers.
    rng = random.Random(seed)
    plain: list[Duel] = []
    longer: list[Duel] = []
    gaps: list[float] = []
    for group, rollout in enumerate(m1.samples):
        points = m1.labels.samples[rollout.prompt_id]
        texts = [response.text for response in rollout.responses]
        for a, text in enumerate(texts):
            b = (a + other) % len(texts)
            plain.append(Duel(group, rollout.prompt, text, texts[b]))
            longer.append(Duel(group, rollout.prompt, text + _PADDING * rng.randrange(2), texts[b]))
            gaps.append(points[a] - points[b])
    # Win rates of both, and what changed.
    before, after = (
        win_rates(duels, _by_points_and_length(duels, gaps), Bootstrap(resamples))["figures"]
        for duels in (plain, longer)
    )
    raw, controlled = "win_rate", "length_controlled_win_rate"
    unmoved = abs(after[controlled]["value"] - before[controlled]["value"]) <= _UNMOVED
    measured = "; ".join(
        f"{label} {before[name]['value']:.1%} to {after[name]['value']:.1%}"
        for label, name in (("raw", raw), ("length-controlled", controlled))
    )
    if other:
        together = correlation([float(len(duel.a) - len(duel.b)) for duel in plain], gaps)
        measured += f" (points and length of the answers correlate by {together:+.2f})"
    return {"holds": after[raw]["low"] > before[raw]["high"] and unmoved, "measured": measured}


def _by_points_and_length(duels: Sequence[Duel], gaps: Sequence[float]) -> list[float]:
    logits = [gap + (len(duel.a) - len(duel.b)) / _CHARACTERS for duel, gap in zip(duels, gaps, strict=True)]
    return [1 / (1 + math.exp(-logit)) for logit in logits]
