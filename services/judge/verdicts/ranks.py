"""Rank candidates: in one listwise look at all of them, in both orders, or each by itself by a pointwise rubric."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfreward.contracts.comparisons import RankItem, RankRequest, RankResponse, RankVerdict, RankVote
from selfreward.contracts.judging import JudgeItem, Judgment
from services.judge.engine.engine import Choice, Engine
from services.judge.reading.read import Found, as_grammar, compile_label, read
from services.judge.rubrics.rubric import Rubric
from services.judge.rubrics.spec import POINTWISE
from services.judge.rubrics.template import as_text
from services.judge.verdicts.aggregate import failure
from services.judge.verdicts.pointwise import judge_items
from services.judge.verdicts.questions import Question, judge_questions
from services.judge.verdicts.sampling import another_seed, item_seeds, sampling_of

_PLACE = r"[\[(#]*+(?:(?:candidate|response|answer)[ \t]*+)?[\[(#]*+[0-9]{1,3}[*_`\"')\]}]*+"
_STEP = r"[ \t]*+[>,=][ \t]*+"
_RANKING = re.compile(rf"{_PLACE}(?:{_STEP}{_PLACE})*+(?!\w|[ \t]*+[>=]|\.[0-9])", re.IGNORECASE)


async def rank(engine: Engine, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    """Rank every item's candidates. Raises as `judge_questions` does."""
    ranking = _pointwise if rubric.spec.kind in POINTWISE else _listwise
    return await ranking(engine, rubric, request, answer_id)


@dataclass(frozen=True)
class RankForm:
    """All numbers from 1 to `count` after the label, best first: `2 > 1 = 3`, where `=` is a tie."""

    label: str
    count: int

    def find(self, text: str) -> Found[list[float]]:
        """For each number shown the share of the others that it beats, a tie counting half."""
        starts = [match.end() for match in compile_label(self.label).finditer(text)]
        match = _RANKING.match(text, starts[-1]) if starts else None
        if match is None:
            return Found("unparsed", reason=f"no ranking after {self.label!r}", labelled=bool(starts))
        places = [int(number) for number in re.findall("[0-9]+", match[0])]
        outside = [number for number in places if not 1 <= number <= self.count]
        if outside:
            reason = f"there is no candidate {outside[0]}, only 1 to {self.count}"
            return Found("out_of_range", reason=reason, labelled=True, end=match.end())
        if sorted(places) != list(range(1, self.count + 1)):
            missing = sorted(set(range(1, self.count + 1)) - set(places))
            reason = f"candidate {missing[0]} is missing" if missing else "a candidate stands twice"
            return Found("unparsed", reason=reason, labelled=True, end=match.end())
        scores = [0.0] * self.count
        ahead = 0
        for group in re.split("[>,]", match[0]):
            tied = [int(number) for number in re.findall("[0-9]+", group)]
            beaten = self.count - ahead - len(tied) + (len(tied) - 1) / 2
            for number in tied:
                scores[number - 1] = beaten / (self.count - 1)
            ahead += len(tied)
        return Found("ok", scores, labelled=True, end=match.end())

    @property
    def pattern(self) -> str:
        """As many numbers as there are candidates."""
        number = f"({'|'.join(str(place) for place in range(1, self.count + 1))})"
        return f"{as_grammar(self.label)} {number}( > {number}){{{self.count - 1}}}"


async def _listwise(engine: Engine, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    items = request.entries
    sampling = sampling_of(rubric.spec, request)
    turns = (False, True) if request.swap else (False,)
    questions = []
    for item, seed in zip(items, item_seeds(request.seed, [item.id for item in items]), strict=True):
        form = RankForm(rubric.spec.verdict_label, len(item.candidates))
        texts = [as_text(candidate) for candidate in item.candidates]
        for turned in turns:
            values = {"prompt": as_text(item.prompt), "reference": item.reference or ""}
            prompt = rubric.template.fill_with(values, texts[::-1] if turned else texts)
            own = seed if seed is None or not turned else another_seed(seed, "reversed")
            guide = form.pattern if rubric.spec.guided else None
            questions.append(Question(prompt, _reader(form, turned), _failer(turned), own, guide))
    judged = await judge_questions(engine, questions, sampling)
    looks = [judged.votes[start : start + len(turns)] for start in range(0, len(questions), len(turns))]
    return RankResponse(
        id=answer_id,
        rubric=rubric.id,
        judge_version=judged.version,
        data=[
            rank_verdict(index, item, votes, sampling.min_valid_votes)
            for index, (item, votes) in enumerate(zip(items, looks, strict=True))
        ],
        usage=judged.usage,
    )


async def _pointwise(engine: Engine, rubric: Rubric, request: RankRequest, answer_id: str) -> RankResponse:
    entries, how = request.entries, rubric.spec.aggregation
    items = [
        JudgeItem(
            id=f"{index if entry.id is None else entry.id}/{place}",
            prompt=entry.prompt,
            response=candidate,
            reference=entry.reference,
        )
        for index, entry in enumerate(entries)
        for place, candidate in enumerate(entry.candidates)
    ]
    sampling = sampling_of(rubric.spec, request, expected=how == "expected")
    judged, judgments = await judge_items(engine, rubric, items, sampling, how, request.seed)
    data, start = [], 0
    for index, entry in enumerate(entries):
        data.append(ranked_judgments(index, entry, judgments[start : start + len(entry.candidates)]))
        start += len(entry.candidates)
    return RankResponse(id=answer_id, rubric=rubric.id, judge_version=judged.version, data=data, usage=judged.usage)


def _reader(form: RankForm, turned: bool) -> Callable[[Choice], RankVote]:
    def cast(choice: Choice) -> RankVote:
        reading = read(choice.text, choice.finish_reason, form, choice.refusal)
        scores = reading.value
        return RankVote(
            shown="reversed" if turned else "given",
            scores=scores[::-1] if turned and scores is not None else scores,
            status=reading.status,
            text=reading.text,
            finish_reason=reading.finish_reason,
            reason=reading.reason,
        )

    return cast


def _failer(turned: bool) -> Callable[[str], RankVote]:
    return lambda why: RankVote(shown="reversed" if turned else "given", status="error", text=why, reason=why)


def rank_verdict(index: int, item: RankItem, looks: Sequence[list[RankVote]], min_valid_votes: int) -> RankVerdict:
    """The ranking of one item by the mean of its votes, the orders shown weighing the same; unscored when one of them
    has fewer valid votes than `min_valid_votes` (or were cast)."""
    votes = [vote for look in looks for vote in look]
    valid = [[vote.scores for vote in look if vote.scores is not None] for look in looks]
    verdict = RankVerdict(
        id=str(index) if item.id is None else item.id,
        index=index,
        status="unscored",
        order=[],
        scores=[None] * len(item.candidates),
        votes=votes,
        valid_votes=sum(len(look) for look in valid),
    )
    for look, scores in zip(looks, valid, strict=True):
        if len(scores) < min(min_valid_votes, len(look)):
            kind, reason = failure(look, min_valid_votes)
            failed = {"failure_kind": kind, "failure_reason": f"shown as {look[0].shown}: {reason}"}
            return verdict.model_copy(update=failed)
    means = [[sum(column) / len(column) for column in zip(*scores, strict=True)] for scores in valid]
    together = [sum(column) / len(column) for column in zip(*means, strict=True)]
    consistent = best_first(means[0]) == best_first(means[1]) if len(means) > 1 else None
    return verdict.model_copy(
        update={
            "status": "ok" if verdict.valid_votes == len(votes) else "partial",
            "order": best_first(together),
            "scores": together,
            "position_consistent": consistent,
        }
    )


def ranked_judgments(index: int, item: RankItem, judgments: list[Judgment]) -> RankVerdict:
    """The ranking of one item by its candidates' own scores. A candidate without one has no place in `order`."""
    scores = [judgment.score for judgment in judgments]
    unscored = [judgment for judgment in judgments if judgment.score is None]
    nothing = len(unscored) == len(judgments)
    clean = all(judgment.status == "ok" for judgment in judgments)
    return RankVerdict(
        id=str(index) if item.id is None else item.id,
        index=index,
        status="unscored" if nothing else "ok" if clean else "partial",
        order=best_first(scores),
        scores=scores,
        judgments=judgments,
        valid_votes=sum(judgment.valid_votes for judgment in judgments),
        failure_kind=unscored[0].failure_kind if nothing else None,
        failure_reason=unscored[0].failure_reason if nothing else None,
    )


def best_first(scores: Sequence[float | None]) -> list[int]:
    """Indices of the scored candidates, best first, equal scores by index."""
    scored = [(-score, index) for index, score in enumerate(scores) if score is not None]
    return [index for _, index in sorted(scored)]
