"""Questions worth training on, for Self Rewarding Self Improving (2505.08827): those of which the policy has some
answers right and some wrong, by its own verdict. Where all answers get one reward there is no advantage to learn from.

A rollout is a probe: a group of answers to one question, each with the policy's verdict on it.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from selfreward.contracts.base import Message
from selfreward.contracts.reinforcement import OwnVerdicts, Question
from selfreward.contracts.rollouts import Rollout
from selfreward.loop.own_verdicts import final_answer, reward
from selfreward.loop.pairing import OUTCOMES

Identity = tuple[str, ...]


def identity(prompt: Sequence[Message]) -> Identity:
    """The words of a question in alphabetical order: two that say the same in another order are one question."""
    return tuple(sorted(word for message in prompt for word in message.content.lower().split()))


def pass_rate(rollout: Rollout, rules: OwnVerdicts) -> float | None:
    """Share of the answers that count as correct, 0 to 1; None where no answer has got a verdict.

    An answer that fails the format gate, and one whose verdict cannot be read, is wrong; one that the engine failed to
    judge says nothing and is left out.
    """
    rewards = []
    for response, judgment in zip(rollout.responses, rollout.judgments, strict=True):
        if final_answer(response.text, rules.answer_format) is None:
            rewards.append(0)
        elif judgment.score is not None or not any(vote.status == "error" for vote in judgment.votes):
            rewards.append(reward(judgment.score, rules.correct_from))
    return fmean(rewards) if rewards else None


def select_questions(
    rollouts: Iterable[Rollout], rules: OwnVerdicts, heldout: Iterable[Sequence[Message]]
) -> tuple[list[Question], dict[str, int]]:
    """The questions to train on in the order of the rollouts, and how many rollouts ended in which way.

    `tie`: all answers are right or all are wrong; `filtered`: the pass rate is out of the recipe's bounds, or the
    question is one of the `heldout` prompts or an earlier one; `unscored`: no verdict.
    """
    seen = {identity(prompt) for prompt in heldout}
    kept: list[Question] = []
    counts = dict.fromkeys(OUTCOMES, 0)
    for rollout in rollouts:
        rate, known = pass_rate(rollout, rules), identity(rollout.prompt)
        if rate is None:
            counts["unscored"] += 1
        elif rate in (0.0, 1.0):
            counts["tie"] += 1
        elif known in seen or not rules.min_pass_rate < rate < rules.max_pass_rate:
            counts["filtered"] += 1
        else:
            counts["kept"] += 1
            seen.add(known)
            kept.append(Question(prompt_id=rollout.prompt_id, prompt=rollout.prompt, pass_rate=rate))
    return kept, counts


def new_questions(texts: Sequence[str], stage: str) -> list[dict[str, Any]]:
    """Questions that the policy has written for a stage, as rows of its prompts."""
    return [
        {"prompt_id": f"{stage.lower()}-{number:05d}", "prompt": [{"role": "user", "content": text}]}
        for number, text in enumerate(texts)
    ]
