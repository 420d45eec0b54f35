"""Find an answer step by step, by candidates that the model compares itself (process-based self-rewarding, 2503.03746).

One prompt is one task: a crash costs one search. Every step has seeds of its own that follow from the task's, so a
repeat draws the same.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestrator.worker.compare import as_match
from selfreward.contracts.base import Message, content_key
from selfreward.contracts.comparisons import PairItem, PairRequest, PairResponse
from selfreward.contracts.rollouts import Response, Rollout, Step
from selfreward.loop.methods.process import after, answer, found_answer, offered, over
from selfreward.loop.tasks import Compare, Search, Task, seed_of

Sample = Callable[[list[Message], int, dict[str, Any]], Awaitable[list[Response]]]
"""Samples answers to a conversation by a seed, with further fields of the request."""
Decide = Callable[[PairRequest], Awaitable[PairResponse]]
"""Has the judge compare."""


async def searched(task: Task, rules: Search, compare: Compare, sample: Sample, decide: Decide) -> Rollout:
    """The answer found, with its steps; where it ends is `over`'s to say, and where it goes back `after`'s.

    Raises as `sample` and `decide` do.
    """
    steps: list[Step] = []
    rubric, version = compare.rubric, task.policy
    while not over(steps, rules.separator, rules.max_steps):
        # The steps that were dropped count too: a step that is sampled again has to be another draw.
        begun, number = answer(steps), len(steps)
        onward = [Message(role="assistant", content=begun)] if begun else []
        candidates = await sample(
            [*task.prompt, *onward], seed_of(task.seed, "step", number), request_fields(begun, rules.separator)
        )
        matches = []
        pairs = offered(candidates, rules.separator)
        if pairs:
            told = await decide(_request(task, compare, begun, candidates, pairs, number))
            rubric, version = told.rubric, told.judge_version
            for (a, b), verdict in zip(pairs, told.data, strict=True):
                matches += [as_match(a, b, vote) for vote in verdict.votes]
        steps = after(steps, candidates, matches, rules.separator, rules.backtracks)
    return task.rollout(
        [found_answer(steps, rules.separator)],
        steps=steps,
        judge_version=version,
        rubric=rubric,
    )


def request_fields(begun: str, separator: str) -> dict[str, Any]:
    """What vLLM is told beside the sampling: stop after the separator and, once begun, go on with the last message."""
    onward = {"continue_final_message": True, "add_generation_prompt": False} if begun else {}
    return {"stop": [separator], "include_stop_str_in_output": True, **onward}


def _request(
    task: Task,
    compare: Compare,
    begun: str,
    candidates: Sequence[Response],
    pairs: Sequence[tuple[int, int]],
    number: int,
) -> PairRequest:
    """The judge reads each candidate with the beginning of the answer before it."""
    items = [
        PairItem(id=content_key(a, b), prompt=task.prompt, a=begun + candidates[a].text, b=begun + candidates[b].text)
        for a, b in pairs
    ]
    told = compare.model_dump(exclude={"of", "annotator", "principles"})
    if compare.annotator == "policy":
        told["policy"] = task.policy
    return PairRequest(items=items, **told, seed=seed_of(task.seed, "judge", number))
