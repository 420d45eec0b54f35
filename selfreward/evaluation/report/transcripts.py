"""A few answers of every model to the same prompts, with what the judge and the checker made of them."""

from typing import NamedTuple

from selfreward.evaluation.report.inputs import RunData


class Line(NamedTuple):
    """One model's answer: its own score, a vote's text, and the checker's score (None where not given)."""

    model: str
    answer: str
    own_score: float | None
    vote: str
    checker: int | None


class Transcript(NamedTuple):
    """A prompt and each model's first sampled answer."""

    prompt: str
    lines: list[Line]


def transcripts(data: RunData, count: int = 5) -> list[Transcript]:
    """`count` prompts spread evenly over those that the models judged themselves; nobody picked them."""
    by_prompt = [{rollout.prompt_id: rollout for rollout in model.samples} for model in data.models]
    shown = [rollout.prompt_id for rollout in (data.models[-1].judged or data.models[-1].samples)]
    ids = [prompt_id for prompt_id in shown if all(prompt_id in rollouts for rollouts in by_prompt)]
    chosen = [ids[index * len(ids) // count] for index in range(count)] if len(ids) >= count else ids
    examples = []
    for prompt_id in chosen:
        lines = []
        for model, rollouts in zip(data.models, by_prompt, strict=True):
            rollout = rollouts[prompt_id]
            judgment = rollout.judgments[0] if rollout.judgments else None
            lines.append(
                Line(
                    model=model.name,
                    answer=rollout.responses[0].text,
                    own_score=judgment.score if judgment else None,
                    vote=judgment.votes[0].text if judgment and judgment.votes else "",
                    checker=model.labels.samples[prompt_id][0] if model.labels else None,
                )
            )
        examples.append(Transcript(by_prompt[-1][prompt_id].prompt[-1].content, lines))
    return examples
