"""Search for an answer step by step, with candidates that the model compares (process-based self-rewarding,
2503.03746).

One prompt is one task, so a crash costs one search. The seeds of each step are derived from the task's, so a repeated
search draws the same candidates.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from orchestrator.worker.compare import as_match
from selfreward.contracts.base import Message, content_key
from selfreward.contracts.comparisons import PairItem, PairRequest, PairResponse
from selfreward.contracts.rollouts import Response, Rollout, Step
from selfreward.loop.methods.steps import answer_of, answer_text, extend, is_over, pairs_to_compare
from selfreward.loop.tasks import Compare, Search, Task, seed_of

Sample = Callable[[list[Message], int, dict[str, Any]], Awaitable[list[Response]]]
"""Samples answers to a conversation by a seed, with further fields of the request."""
Decide = Callable[[PairRequest], Awaitable[PairResponse]]
"""Has the judge compare."""


async def search_answer(task: Task, rules: Search, compare: Compare, sample: Sample, decide: Decide) -> Rollout:
    """The rollout of a search: its answer, with its steps. `extend` and `is_over` decide where it goes back and ends.

    Raises as `sample` and `decide` do.
    """
    steps: list[Step] = []
    rubric, version = compare.rubric, task.policy
    while not is_over(steps, rules.separator, rules.max_steps):
        # Sample the candidates. Dropped steps count in the number, so that a step sampled again is another draw.
        beginning, number = answer_text(steps), len(steps)
        last_turn = [Message(role="assistant", content=beginning)] if beginning else []
        candidates = await sample(
            [*task.prompt, *last_turn], seed_of(task.seed, "step", number), request_fields(beginning, rules.separator)
        )
        # Have the judge compare every two of them.
        matches = []
        pairs = pairs_to_compare(candidates, rules.separator)
        if pairs:
            reply = await decide(_request(task, compare, beginning, candidates, pairs, number))
            rubric, version = reply.rubric, reply.judge_version
            for (a, b), verdict in zip(pairs, reply.data, strict=True):
                matches += [as_match(a, b, vote) for vote in verdict.votes]
        # Continue with the best candidate, or go back.
        steps = extend(steps, candidates, matches, rules.separator, rules.backtracks)
    return task.rollout(
        [answer_of(steps, rules.separator)],
        steps=steps,
        judge_version=version,
        rubric=rubric,
    )


def request_fields(beginning: str, separator: str) -> dict[str, Any]:
    """Fields of the vLLM request: stop after the separator and continue the last message if the answer has a
    beginning."""
    continued = {"continue_final_message": True, "add_generation_prompt": False} if beginning else {}
    return {"stop": [separator], "include_stop_str_in_output": True, **continued}


def _request(
    task: Task,
    compare: Compare,
    beginning: str,
    candidates: Sequence[Response],
    pairs: Sequence[tuple[int, int]],
    number: int,
) -> PairRequest:
    """The comparison of the pairs. The judge reads the beginning of the answer before each candidate."""
    texts = [beginning + candidate.text for candidate in candidates]
    items = [PairItem(id=content_key(a, b), prompt=task.prompt, a=texts[a], b=texts[b]) for a, b in pairs]
    fields = compare.model_dump(exclude={"of", "annotator", "principles"})
    if compare.annotator == "policy":
        fields["policy"] = task.policy
    return PairRequest(items=items, **fields, seed=seed_of(task.seed, "judge", number))
