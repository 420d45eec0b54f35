"""The wire contracts of comparisons: two responses, two judgments of one response, or a list of candidates.

A comparison is shown in both orders unless `swap` is false, because judges prefer a position (Zheng et al. 2023,
2306.05685: GPT-4 keeps its verdict in 65 % of swaps): what both orders say counts, and disagreement is a tie.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.judging import Judgment, JudgmentStatus, Usage, VoteStatus

Side = Literal["a", "b", "tie"]
Order = Literal["ab", "ba"]
ArgumentStatus = Literal["ok", "truncated", "empty", "refused", "error"]


class Ballot(Contract):
    """What every sampled verdict carries. `reason` says what is wrong with one that is not `ok`."""

    status: VoteStatus
    text: str = ""
    finish_reason: str | None = None
    reason: str | None = None


class PairVote(Ballot):
    """One sampled comparison. `order` `ba` showed b first; `winner` names the item's side, never the place shown.

    `clearly`: by a rubric of kind `arena` alone, whether the winner is much better and not a little.
    `p_a`: the judge's probability that a wins over b (0 to 1) at the verdict's own token, where the engine gave it.
    """

    order: Order
    winner: Side | None = None
    clearly: bool | None = None
    p_a: float | None = None


class Argument(Contract):
    """What one debater said in one round of a debate, in its own words. `side` is the item's side that it spoke for;
    its words say A for what stood first in this `order`.

    `truncated` ran into the limit of tokens and was used as it is; one that is `empty`, `refused` or `error` (the
    engine failed, see `reason`) was not, and the judge was told that there is none.
    """

    order: Order
    round: int = Field(ge=1)
    side: Literal["a", "b"]
    status: ArgumentStatus
    text: str = ""
    reason: str | None = None


class PairVerdict(Contract):
    """Which of two is better.

    `winner_ab` and `winner_ba` are the most frequent verdicts in each order (tie when two are equally frequent);
    `winner` is theirs where they agree and `tie` where they do not, which `position_consistent` tells apart. `p_a` is
    the probability (0 to 1) that a wins, the orders weighing the same: from the judge's own probabilities
    (`p_a_from` is `logprobs`) where every valid vote has one, else the share of votes, a tie counting half.
    `agreement` is the share of valid votes for the most frequent verdict. `principle` is the one that was judged by.
    `debate`, by a rubric of kind `debate` alone, has the arguments that the judge read, those of each order by itself.
    """

    id: str
    index: int = Field(ge=0)
    winner: Literal["a", "b", "tie", "unscored"]
    status: JudgmentStatus
    votes: list[PairVote]
    valid_votes: int = Field(ge=0)
    winner_ab: Side | None = None
    winner_ba: Side | None = None
    position_consistent: bool | None = None
    p_a: float | None = None
    p_a_from: Literal["logprobs", "votes"] | None = None
    agreement: float | None = None
    principle: str | None = None
    debate: list[Argument] = []
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class PairResponse(Contract):
    """Answer of `POST /v1/judge/pairwise` and `/v1/judge/meta`; `data` is in the order of the items.

    `flip_rate`: share of the items decided in both orders whose verdicts differ; null when there is none.
    """

    id: str
    rubric: str
    judge_version: str
    data: list[PairVerdict]
    flip_rate: float | None = None
    usage: Usage = Usage()


class RankVote(Ballot):
    """One sampled ranking. `scores` has for each candidate the share of the others that it beats (a tie is half)."""

    shown: Literal["given", "reversed"]
    scores: list[float] | None = None


class RankVerdict(Contract):
    """Candidates from best to worst.

    `order` holds indices of the candidates that have a score, equal scores by index. `scores` are, for a listwise
    rubric, shares of the other candidates beaten (0 to 1), and for a pointwise one its points; null where there is
    none. `votes` are the rankings of a listwise rubric, `judgments` the candidates' own of a pointwise one.
    `position_consistent`: both orders shown gave the same `order`.
    """

    id: str
    index: int = Field(ge=0)
    status: JudgmentStatus
    order: list[int]
    scores: list[float | None]
    votes: list[RankVote] = []
    judgments: list[Judgment] = []
    valid_votes: int = Field(ge=0)
    position_consistent: bool | None = None
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class RankResponse(Contract):
    """Answer of `POST /v1/judge/rank`; `data` is in the order of the items."""

    id: str
    rubric: str
    judge_version: str
    data: list[RankVerdict]
    usage: Usage = Usage()


class PairItem(Contract):
    """Two responses to one prompt. `principle` (kind `constitution`) is else drawn from the rubric's list."""

    id: str | None = None
    prompt: str | list[Message]
    a: str | list[Message]
    b: str | list[Message]
    reference: str | None = None
    principle: str | None = Field(default=None, min_length=1, max_length=2000)


class MetaItem(Contract):
    """Two judgments of one response (Meta-Rewarding, 2407.19594 section 2.2)."""

    id: str | None = None
    prompt: str | list[Message]
    response: str | list[Message]
    judgment_a: str
    judgment_b: str


class RankItem(Contract):
    """Candidate responses to one prompt."""

    id: str | None = None
    prompt: str | list[Message]
    candidates: list[str | list[Message]] = Field(min_length=2, max_length=64)
    reference: str | None = None


class Comparison(Contract):
    """What all comparisons have in common. Fields that are left out are the rubric's own.

    `votes` are sampled for each order shown, `min_valid_votes` needed in each. A truncated vote is sampled once more,
    with twice the tokens, as far as `retry_max_tokens` allows. `policy` pins the judging version (`policy@N`).
    """

    votes: int = Field(default=1, ge=1, le=64, strict=True)
    swap: bool = Field(default=True, strict=True)
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, strict=True)
    max_tokens: int | None = Field(default=None, ge=1, le=8192, strict=True)
    retry_max_tokens: int | None = Field(default=None, ge=1, le=8192, strict=True)
    min_valid_votes: int | None = Field(default=None, ge=1, le=64, strict=True)
    policy: str | None = None
    seed: int | None = Field(default=None, strict=True)


class PairRequest(Comparison):
    """Body of `POST /v1/judge/pairwise`."""

    rubric: str = "pairwise"
    items: list[PairItem] = Field(min_length=1, max_length=1024)


class MetaRequest(Comparison):
    """Body of `POST /v1/judge/meta`: `items`, or the fields of a single one."""

    rubric: str = "meta"
    items: list[MetaItem] = Field(default=[], max_length=1024)
    prompt: str | list[Message] | None = None
    response: str | list[Message] | None = None
    judgment_a: str | None = None
    judgment_b: str | None = None

    @model_validator(mode="after")
    def _items_or_one(self) -> Self:
        _one_way(self, ("prompt", "response", "judgment_a", "judgment_b"))
        return self

    @property
    def entries(self) -> list[MetaItem]:
        """The items, however they were given."""
        if self.items or self.prompt is None or self.response is None:
            return self.items
        judgments = {"judgment_a": self.judgment_a or "", "judgment_b": self.judgment_b or ""}
        return [MetaItem(prompt=self.prompt, response=self.response, **judgments)]


class RankRequest(Comparison):
    """Body of `POST /v1/judge/rank`: `items`, or the fields of a single one. A pointwise rubric judges each candidate
    by itself (`swap` then has no meaning)."""

    rubric: str = "rank"
    votes: int = Field(default=3, ge=1, le=64, strict=True)
    items: list[RankItem] = Field(default=[], max_length=1024)
    prompt: str | list[Message] | None = None
    candidates: list[str | list[Message]] | None = Field(default=None, min_length=2, max_length=64)
    reference: str | None = None

    @model_validator(mode="after")
    def _items_or_one(self) -> Self:
        _one_way(self, ("prompt", "candidates"), ("reference",))
        return self

    @property
    def entries(self) -> list[RankItem]:
        """The items, however they were given."""
        if self.items or self.prompt is None or self.candidates is None:
            return self.items
        return [RankItem(prompt=self.prompt, candidates=self.candidates, reference=self.reference)]


def _one_way(request: MetaRequest | RankRequest, needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    given = [name for name in (*needed, *optional) if getattr(request, name) is not None]
    if request.items and given:
        raise ValueError(f"items and {given[0]} are both given: put {given[0]} into the items")
    missing = [name for name in needed if getattr(request, name) is None]
    if not request.items and missing:
        raise ValueError(f"items is missing: give items, or {', '.join(needed)} of a single one")
