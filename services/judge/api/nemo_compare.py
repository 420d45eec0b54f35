"""NeMo Gym's contract of cohort rewards: `POST /compare`, as in `resources_servers/genrm_compare/app.py`.

The responses to one prompt are compared two by two, each pair in both orders, and a response's reward is the mean of
its chances to win (0 to 1). By a rubric that scores or ranks, the reward is the score. A response that no comparison
decides, or that says nothing, has the reward null: it is never a made-up number, and never an error of the others.
"""

from itertools import combinations
from statistics import fmean, pstdev
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, JsonValue

from selfreward.contracts.base import Contract, Message
from selfreward.contracts.comparisons import PairItem, PairRequest, PairVerdict, RankRequest
from selfreward.contracts.conversations import Conversation, NotText, conversation
from services.judge.api.nemo_gym import CONTRACT
from services.judge.api.shared import JudgeQuery, json_answer
from services.judge.rubrics.spec import COMPARING
from services.judge.service import JudgeService


class CompareQuery(JudgeQuery):
    """Query parameters. `circular` compares each response with the next one, `all_pairs` each with every other."""

    votes: int = Field(default=1, ge=1, le=64)
    strategy: Literal["circular", "all_pairs"] = "circular"


class CompareRequest(Contract):
    """NeMo Gym's body: the conversation, and responses of OpenAI's Responses API. `principle` is for a constitution."""

    conversation_history: Conversation
    response_objs: list[dict[str, Any]] = Field(min_length=1, max_length=64)
    principle: str | None = Field(default=None, min_length=1, max_length=2000)


class CompareResponse(Contract):
    """One reward for each response, in order; null for one without a verdict.

    `comparison_results` has the decided pairs: the chances of both to win, and `ranking`, which goes from 1 (the first
    is better) to 6.
    """

    rewards: list[float | None]
    comparison_results: list[dict[str, JsonValue]] | None
    metrics: dict[str, float]


def cohort_pairs(count: int, strategy: str) -> list[tuple[int, int]]:
    """Which of `count` responses are compared: each pair once."""
    if strategy == "all_pairs" or count < 3:
        return list(combinations(range(count), 2))
    return [(index, (index + 1) % count) for index in range(count)]


def add_nemo_compare(app: FastAPI, service: JudgeService) -> None:
    """Add `/compare`."""

    @app.post("/compare", response_model=CompareResponse, tags=[CONTRACT])
    async def compare(request: Request, body: CompareRequest, query: Annotated[CompareQuery, Query()]) -> Response:
        """Compare the responses to one prompt. This is the contract of NeMo Gym's `genrm_compare` server."""
        candidates = [_said(response, index) for index, response in enumerate(body.response_objs)]
        if len(candidates) == 1:
            alone = CompareResponse(rewards=[None], comparison_results=None, metrics={"unscored": 1})
            return Response(alone.model_dump_json(), media_type="application/json")
        rubric = query.rubric or ("constitution" if body.principle else "pairwise")
        if service.rubric(rubric).spec.kind not in COMPARING:
            ranking = RankRequest(
                rubric=rubric, votes=query.votes, prompt=body.conversation_history, candidates=candidates
            )
            ranked = await service.rank(request, ranking, contract=CONTRACT)
            scores = ranked.data[0].scores
            unscored = sum(score is None for score in scores)
            scored = CompareResponse(rewards=scores, comparison_results=None, metrics={"unscored": unscored})
            return json_answer(scored.model_dump(), ranked)

        # Compare two by two.
        pairs = cohort_pairs(len(candidates), query.strategy)
        items = [
            PairItem(
                id=f"{i}-{j}",
                prompt=body.conversation_history,
                a=candidates[i],
                b=candidates[j],
                principle=body.principle,
            )
            for i, j in pairs
        ]
        compared = await service.compare(
            request, PairRequest(rubric=rubric, votes=query.votes, items=items), contract=CONTRACT
        )
        return json_answer(cohort_rewards(len(candidates), pairs, compared.data).model_dump(), compared)


def cohort_rewards(count: int, pairs: list[tuple[int, int]], verdicts: list[PairVerdict]) -> CompareResponse:
    """The mean chance of each response to win its decided pairs."""
    chances: list[list[float]] = [[] for _ in range(count)]
    results: list[dict[str, JsonValue]] = []
    for (i, j), verdict in zip(pairs, verdicts, strict=True):
        if verdict.p_a is None:
            continue
        chances[i].append(verdict.p_a)
        chances[j].append(1 - verdict.p_a)
        decided = {"score_1": verdict.p_a, "score_2": 1 - verdict.p_a, "ranking": 6 - 5 * verdict.p_a}
        results.append({"response_i": i, "response_j": j, "judge_idx": 0, **decided, "winner": verdict.winner})
    rewards = [fmean(won) if won else None for won in chances]
    metrics: dict[str, float] = {"unscored": rewards.count(None)}
    every = [chance for won in chances for chance in won]
    if every:
        ties = sum(result["winner"] == "tie" for result in results)
        metrics |= {"mean_individual_score": fmean(every), "std_individual_score": pstdev(every)}
        metrics["tiebreak_usage_rate"] = ties / len(results)
    return CompareResponse(rewards=rewards, comparison_results=results, metrics=metrics)


def _said(response: dict[str, Any], index: int) -> str | list[Message]:
    """What a response says; nothing where it is no text, so that it alone has no reward."""
    try:
        return conversation(response.get("output"), f"response_objs.{index}.output")
    except NotText:
        return []
