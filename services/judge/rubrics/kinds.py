"""The kinds of rubrics: what each is asked about, where its verdict stands, and which route answers."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["points", "criteria", "binary", "pairwise", "arena", "constitution", "debate", "meta", "rank"]


@dataclass(frozen=True)
class KindShape:
    """`required` and `optional` placeholders of the template, the default verdict label, the route that judges.

    `unit`: verdicts are no points but lie between 0 and 1, so that the rubric's scale is 0 to 1.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    label: str
    route: str
    unit: bool = True


KINDS: dict[Kind, KindShape] = {
    "points": KindShape(("prompt", "response"), ("reference",), "Score:", "/v1/judge", unit=False),
    "criteria": KindShape(("prompt", "response", "criteria"), ("reference",), "Criterion #:", "/v1/judge"),
    "binary": KindShape(("prompt", "response"), ("reference",), "Verdict:", "/v1/judge"),
    "pairwise": KindShape(("prompt", "response_a", "response_b"), ("reference",), "Winner:", "/v1/judge/pairwise"),
    "arena": KindShape(("prompt", "response_a", "response_b"), ("reference",), "Verdict:", "/v1/judge/pairwise"),
    "constitution": KindShape(
        ("prompt", "response_a", "response_b", "principle"), ("reference",), "Answer:", "/v1/judge/pairwise"
    ),
    "debate": KindShape(
        ("prompt", "response_a", "response_b", "debate"), ("reference",), "Winner:", "/v1/judge/pairwise"
    ),
    "meta": KindShape(("prompt", "response", "judgement_a", "judgement_b"), (), "Winner:", "/v1/judge/meta"),
    "rank": KindShape(("prompt", "candidates"), ("reference",), "Ranking:", "/v1/judge/rank"),
}

ARGUE = KindShape(("prompt", "response_a", "response_b", "side", "debate"), (), "Winner:", "/v1/judge/pairwise")
"""What the debaters of a `debate` are shown."""

COMPARING: tuple[Kind, ...] = ("pairwise", "arena", "constitution", "debate")
"""Kinds that compare two responses."""

POINTWISE: tuple[Kind, ...] = ("points", "criteria", "binary")
"""Kinds that give one response a score."""
