"""The wire contracts of comparisons: two responses, two judgments of one response, or a list of candidates.

Judges prefer a position (Zheng et al. 2023, 2306.05685: GPT-4 keeps its verdict in 65 % of swaps). So each comparison
is judged in both orders unless `swap` is false, and a disagreement of the orders is a tie.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from selfreward.contracts.base import Contract
from selfreward.contracts.conversations import Conversation
from selfreward.contracts.judging import MOST_VOTE_TOKENS, Judgment, JudgmentStatus, Usage, VoteStatus

Side = Literal["a", "b", "tie"]
Order = Literal["ab", "ba"]
ArgumentStatus = Literal["ok", "truncated", "empty", "refused", "error"]


class ComparisonVote(Contract):
    """The fields of every vote of a comparison. `reason` says what is wrong with one that is not `ok`.

    `constrained`, `reasoning_content` and `engine` are as in `Vote`.
    """

    status: VoteStatus
    text: str = ""
    finish_reason: str | None = None
    reason: str | None = None
    constrained: bool = False
    reasoning_content: str | None = None
    engine: str | None = None


class PairVote(ComparisonVote):
    """One sampled comparison. In `order` `ba` b stands first. `winner` is the item's side, never the position shown.

    `clearly` (only by a rubric of kind `arena`) says whether the winner is much better and not only a little. `p_a` is
    the judge's probability (0 to 1) that a wins over b, at the verdict's own token, where the engine gives it.
    """

    order: Order
    winner: Side | None = None
    clearly: bool | None = None
    p_a: float | None = None


class Argument(Contract):
    """What one debater wrote in one round of a debate. `side` is the item's side that it argued for.

    In its text, A is the response that stands first in this `order`. A `truncated` argument reached the token limit and
    is used as it is. One that is `empty`, `refused` or `error` (the engine failed, see `reason`) is not used, and the
    judge reads that there is none.
    """

    order: Order
    round: int = Field(ge=1)
    side: Literal["a", "b"]
    status: ArgumentStatus
    text: str = ""
    reason: str | None = None


class PairVerdict(Contract):
    """Which of two is better.

    `winner_ab` and `winner_ba` are the most frequent verdicts in each order (`tie` when two are equally frequent).
    `winner` is their common verdict; where they disagree it is `tie`, and `position_consistent` is false. `p_a` is the
    probability (0 to 1) that a wins, with equal weights for the orders: from the judge's own probabilities (`p_a_from`
    is `logprobs`) where every valid vote has one, else the share of votes, of which a tie counts half. `agreement` is
    the share of valid votes for the most frequent verdict. `disagreement` (only by a jury, of which two engines have
    valid votes in each order) is the share of the engines whose own verdict is not the most frequent one. `principle`
    is the principle of the judgment. `debate` (only by a rubric of kind `debate`) has the arguments that the judge
    read, for each order its own.
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
    disagreement: float | None = Field(default=None, ge=0, le=1)
    principle: str | None = None
    debate: list[Argument] = []
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class PairResponse(Contract):
    """Answer of `POST /v1/judge/pairwise` and `/v1/judge/meta`. `data` is in the order of the items.

    `flip_rate` is the share of the items decided in both orders whose orders disagree; null when there is no such item.
    """

    id: str
    rubric: str
    judge_version: str
    data: list[PairVerdict]
    flip_rate: float | None = None
    usage: Usage = Usage()


class RankVote(ComparisonVote):
    """One sampled ranking. `scores` has for each candidate the share of the others that it beats; a tie counts half."""

    shown: Literal["given", "reversed"]
    scores: list[float] | None = None


class RankVerdict(Contract):
    """Candidates from best to worst.

    `order` has the indices of the candidates with a score, best first, equal scores by index. `scores` are the shares
    (0 to 1) of the other candidates beaten by a listwise rubric, and points by a pointwise rubric; null where there is
    no score. `votes` are the rankings of a listwise rubric, `judgments` the candidates' judgments of a pointwise one.
    `position_consistent` says whether both orders shown gave the same `order`. `disagreement` (only by a jury, of which
    two engines have valid votes in each order shown) is the share of the engines whose best candidate is not the most
    frequent one; judgments have their own.
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
    disagreement: float | None = Field(default=None, ge=0, le=1)
    failure_kind: VoteStatus | None = None
    failure_reason: str | None = None


class RankResponse(Contract):
    """Answer of `POST /v1/judge/rank`. `data` is in the order of the items."""

    id: str
    rubric: str
    judge_version: str
    data: list[RankVerdict]
    usage: Usage = Usage()


class PairItem(Contract):
    """Two responses to one prompt. Without a `principle`, a rubric of kind `constitution` draws one from its list."""

    id: str | None = None
    prompt: Conversation
    a: Conversation
    b: Conversation
    reference: str | None = None
    principle: str | None = Field(default=None, min_length=1, max_length=2000)


class MetaItem(Contract):
    """Two judgments of one response (Meta-Rewarding, 2407.19594 section 2.2)."""

    id: str | None = None
    prompt: Conversation
    response: Conversation
    judgment_a: str
    judgment_b: str


class RankItem(Contract):
    """Candidate responses to one prompt."""

    id: str | None = None
    prompt: Conversation
    candidates: list[Conversation] = Field(min_length=2, max_length=64)
    reference: str | None = None


class Comparison(Contract):
    """The fields of every request for a comparison. Defaults of the sampling fields are the rubric's.

    `votes` are sampled in each order, and `min_valid_votes` are needed in each. A truncated vote is sampled once more
    with twice the tokens, but not more than `retry_max_tokens`. `policy` pins the judging version (`policy@N`).
    """

    votes: int = Field(default=1, ge=1, le=64, strict=True)
    swap: bool = Field(default=True, strict=True)
    temperature: float | None = Field(default=None, ge=0, le=2, strict=True)
    top_p: float | None = Field(default=None, gt=0, le=1, strict=True)
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_VOTE_TOKENS, strict=True)
    retry_max_tokens: int | None = Field(default=None, ge=1, le=MOST_VOTE_TOKENS, strict=True)
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
    prompt: Conversation | None = None
    response: Conversation | None = None
    judgment_a: str | None = None
    judgment_b: str | None = None

    @model_validator(mode="after")
    def _items_or_one(self) -> Self:
        _check_items_or_fields(self, ("prompt", "response", "judgment_a", "judgment_b"))
        return self

    @property
    def entries(self) -> list[MetaItem]:
        """The items, in whichever way the request gives them."""
        if self.items or self.prompt is None or self.response is None:
            return self.items
        judgments = {"judgment_a": self.judgment_a or "", "judgment_b": self.judgment_b or ""}
        return [MetaItem(prompt=self.prompt, response=self.response, **judgments)]


class RankRequest(Comparison):
    """Body of `POST /v1/judge/rank`: `items`, or the fields of a single one.

    A pointwise rubric judges each candidate by itself; then `swap` has no effect.
    """

    rubric: str = "rank"
    votes: int = Field(default=3, ge=1, le=64, strict=True)
    items: list[RankItem] = Field(default=[], max_length=1024)
    prompt: Conversation | None = None
    candidates: list[Conversation] | None = Field(default=None, min_length=2, max_length=64)
    reference: str | None = None

    @model_validator(mode="after")
    def _items_or_one(self) -> Self:
        _check_items_or_fields(self, ("prompt", "candidates"), ("reference",))
        return self

    @property
    def entries(self) -> list[RankItem]:
        """The items, in whichever way the request gives them."""
        if self.items or self.prompt is None or self.candidates is None:
            return self.items
        return [RankItem(prompt=self.prompt, candidates=self.candidates, reference=self.reference)]


def _check_items_or_fields(
    request: MetaRequest | RankRequest, needed: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    single = [name for name in (*needed, *optional) if getattr(request, name) is not None]
    if request.items and single:
        raise ValueError(f"items and {single[0]} are both given: put {single[0]} into the items")
    missing = [name for name in needed if getattr(request, name) is None]
    if not request.items and missing:
        raise ValueError(f"items is missing: give items, or {', '.join(needed)} of a single one")
