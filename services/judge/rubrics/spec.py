"""What `rubric.toml` may contain, and the kinds of rubrics: placeholders, verdict label and route of each kind."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from selfreward.contracts.base import Contract
from selfreward.contracts.judging import MOST_VOTE_TOKENS, Aggregation, Criterion
from services.judge.rubrics.neutralise import check_delimiter

Kind = Literal["points", "criteria", "binary", "pairwise", "arena", "constitution", "debate", "meta", "rank"]
COMPARING: tuple[Kind, ...] = ("pairwise", "arena", "constitution", "debate")
"""Kinds that compare two responses."""
POINTWISE: tuple[Kind, ...] = ("points", "criteria", "binary")
"""Kinds that give one response a score."""
_NUMBER = "#"


@dataclass(frozen=True)
class KindShape:
    """The `required` and `optional` placeholders of the template, the default verdict label, and the route that judges.

    `unit`: scores are not points but shares from 0 to 1, which is then the rubric's scale.
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
    "meta": KindShape(("prompt", "response", "judgment_a", "judgment_b"), (), "Winner:", "/v1/judge/meta"),
    "rank": KindShape(("prompt", "candidates"), ("reference",), "Ranking:", "/v1/judge/rank"),
}
ARGUE = KindShape(("prompt", "response_a", "response_b", "side", "debate"), (), "Winner:", "/v1/judge/pairwise")
"""The placeholders of `argue.txt`, which the debaters of a rubric of kind `debate` read."""


class Scale(Contract):
    """Inclusive range of scores, in points."""

    min: float = Field(default=0, allow_inf_nan=False)
    max: float = Field(default=5, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"min={self.min:g} is not below max={self.max:g}: swap or widen them")
        return self


class RubricSampling(Contract):
    """Default sampling of votes; a request may set its own (Yuan et al. 2024, 2.2: as the answers, T=0.7, p=0.9).

    A truncated vote is sampled once more with twice `max_tokens`, at most `retry_max_tokens`. It is not where
    `retry_max_tokens` is unset. `reasoning_effort` and `chat_template_kwargs` are passed on to the engine as they are,
    for judges that reason: `chat_template_kwargs = { enable_thinking = true }`.
    """

    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1, le=MOST_VOTE_TOKENS)
    retry_max_tokens: int | None = Field(default=None, ge=1, le=MOST_VOTE_TOKENS)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    chat_template_kwargs: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _retry_is_larger(self) -> Self:
        if self.retry_max_tokens is not None and self.retry_max_tokens <= self.max_tokens:
            raise ValueError(
                f"retry_max_tokens={self.retry_max_tokens} is not above max_tokens={self.max_tokens}: "
                "raise it or leave it out"
            )
        return self


class DebateSpec(Contract):
    """The number of rounds, with one argument for each side in each round, and the token limit of an argument."""

    rounds: int = Field(default=2, ge=1, le=4)
    argument_tokens: int = Field(default=256, ge=1, le=2048)


class RubricSpec(Contract):
    """Content of `rubric.toml`.

    - `delimiters`: the marks in the template that no candidate text may forge.
    - `engines`: the jury, by their names in `SELFREWARD_JUDGE_ENGINES`; by default the judge's own engine alone.
    - `verdict_label`, `scale`: by default those of the kind. In the label of explicit criteria, `#` stands for the
      criterion's number.
    - `guided`: where a vote has no readable verdict, the engine writes one in its exact form after the vote's own text,
      if it can (vLLM, SGLang). Without it such a vote is unparsed or truncated.
    - `logprobs`: ask for the probabilities of the verdict's token in comparisons.
    - `criteria_sum`: `explicit` is a yes or no for each criterion and their weighted share, `implicit` is one score in
      view of all criteria (Rubrics as Rewards, 2507.17746).
    - `principles`: the principles that a rubric of kind `constitution` chooses by (Constitutional AI, 2212.08073).
    - `debate`: the debate before the verdicts of a rubric of kind `debate`.
    """

    title: str = Field(min_length=1)
    kind: Kind = "points"
    engines: list[str] = Field(default=[], max_length=16)
    scale: Scale = Scale()
    verdict_label: str = Field(default="Score:", min_length=1)
    delimiters: list[str] = []
    aggregation: Aggregation = "mean"
    min_valid_votes: int = Field(default=2, ge=1, le=64)
    guided: bool = True
    logprobs: bool = False
    criteria: list[Criterion] = Field(default=[], max_length=64)
    criteria_sum: Literal["explicit", "implicit"] = "explicit"
    principles: list[str] = Field(default=[], max_length=256)
    debate: DebateSpec | None = None
    sampling: RubricSampling = RubricSampling()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        """Set the label of the kind, and the scale 0 to 1 where scores are shares."""
        if not isinstance(values, dict):
            return values
        shape = next((shape for kind, shape in KINDS.items() if kind == values.get("kind")), None)
        if shape is None or not shape.unit or _implicit(values):
            return values
        return {"verdict_label": shape.label, "scale": {"min": 0, "max": 1}, **values}

    @field_validator("verdict_label", "delimiters")
    @classmethod
    def _can_be_neutralised(cls, value: str | list[str]) -> str | list[str]:
        for delimiter in [value] if isinstance(value, str) else value:
            check_delimiter(delimiter)
        return value

    @field_validator("engines")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated!r} is there twice: remove one, and ask for more votes instead")
        return names

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        # Each pair is a condition and the message where it holds.
        problems = [
            (self.criteria and self.kind != "criteria", f"criteria are for kind 'criteria', not {self.kind!r}"),
            (self.principles and self.kind != "constitution", f"principles are for 'constitution', not {self.kind!r}"),
            (self.debate and self.kind != "debate", f"debate is for kind 'debate', not {self.kind!r}: leave it out"),
            (not self.debate and self.kind == "debate", "kind 'debate' needs its debate: add [debate] with rounds = 2"),
            (
                self.engines and self.kind == "debate",
                "engines are not for 'debate', which one engine holds: leave it out",
            ),
            (self.logprobs and self.kind == "arena", "logprobs are for verdicts of two letters, not for 'arena'"),
            (self.logprobs and self.kind in POINTWISE, "logprobs are for comparisons: use aggregation = 'expected'"),
            (
                self.aggregation != "mean" and self.kind not in POINTWISE,
                f"aggregation={self.aggregation!r} is for scores, not for kind {self.kind!r}: leave it out",
            ),
            (
                self.unit and (self.scale.min, self.scale.max) != (0, 1),
                f"scale is 0 to 1 for kind {self.kind!r}: leave it out",
            ),
            (
                self.numbered and self.verdict_label.count(_NUMBER) != 1,
                f"verdict_label={self.verdict_label!r} needs one '#' where the criterion's number stands",
            ),
            (
                self.aggregation == "expected" and not self.has_digit_scores,
                "aggregation='expected' reads the probabilities of single digits: it needs kind 'points' and a scale "
                f"of whole numbers within 0 to 9, not {self.kind!r} and {self.scale.min:g} to {self.scale.max:g}",
            ),
        ]
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)
        return self

    @property
    def unit(self) -> bool:
        """Whether scores are shares from 0 to 1 and not points."""
        return KINDS[self.kind].unit and not (self.kind == "criteria" and self.criteria_sum == "implicit")

    @property
    def numbered(self) -> bool:
        """Whether the judge writes one verdict for each criterion, labelled with its number."""
        return self.kind == "criteria" and self.criteria_sum == "explicit"

    @property
    def has_digit_scores(self) -> bool:
        """Whether every whole score is one digit, so that it is one token of the judge."""
        whole = float(self.scale.min).is_integer() and float(self.scale.max).is_integer()
        return not self.unit and whole and self.scale.min >= 0 and self.scale.max <= 9


def _implicit(values: dict[str, Any]) -> bool:
    return values.get("kind") == "criteria" and values.get("criteria_sum") == "implicit"
