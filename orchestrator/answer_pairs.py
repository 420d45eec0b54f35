"""Have the judge compare the answers to a prompt two by two, each pair in both orders (SCIR, 2502.08922)."""

from collections.abc import Sequence

from orchestrator.methods.scir import offered
from selfreward.contracts import Match, Message, Response
from selfreward.implicit import Scir
from selfreward.judge_client import AsyncJudgeClient
from selfreward.verdicts import PairItem, PairRequest, PairVote

_AT_ONCE = 32
"""Pairs in one request, so that each is answered within its deadline."""


async def compare_answers(
    judge: AsyncJudgeClient, rules: Scir, prompt: list[Message], responses: Sequence[Response], policy: str, seed: int
) -> tuple[list[Match], str]:
    """A match for each vote on each offered pair, and the rubric's identity. Raises as the client does."""
    matches: list[Match] = []
    rubric = rules.rubric
    places = offered(responses)
    for start in range(0, len(places), _AT_ONCE):
        chunk = places[start : start + _AT_ONCE]
        answer = await judge.decide(
            PairRequest(
                rubric=rules.rubric,
                items=[
                    PairItem(id=f"{a}-{b}", prompt=prompt, a=responses[a].text, b=responses[b].text) for a, b in chunk
                ],
                votes=rules.votes,
                temperature=rules.temperature,
                top_p=rules.top_p,
                max_tokens=rules.max_tokens,
                policy=policy,
                seed=seed,
            )
        )
        rubric = answer.rubric
        for (a, b), verdict in zip(chunk, answer.data, strict=True):
            matches += [_match(a, b, vote) for vote in verdict.votes]
    return matches, rubric


def _match(a: int, b: int, vote: PairVote) -> Match:
    """A vote on the answers `a` and `b`, told by the order in which they were shown."""
    shown_first, shown_second = (a, b) if vote.order == "ab" else (b, a)
    for_a = {"a": 1.0, "b": 0.0}.get(vote.winner or "tie", 0.5)
    for_first = for_a if vote.order == "ab" else 1 - for_a
    p_first = vote.p_a if vote.p_a is None or vote.order == "ab" else 1 - vote.p_a
    return Match.model_validate(
        {
            "first": shown_first,
            "second": shown_second,
            "outcome": round(2 * for_first - 1),
            "status": vote.status,
            "p_first": p_first,
            "text": vote.text,
        }
    )
