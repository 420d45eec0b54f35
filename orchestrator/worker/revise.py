"""Criticise and revise an answer, round after round, by the policy that wrote it (Constitutional AI, 2212.08073)."""

from collections.abc import Awaitable, Callable, Sequence

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response
from selfreward.loop.constitution import fill
from selfreward.loop.tasks import Revision

Ask = Callable[[str, str], Awaitable[Response]]
"""Has the policy answer one user turn; the second text names the question, so that each has a seed of its own."""


async def revise(ask: Ask, prompt: Sequence[Message], first: Response, rounds: Sequence[Revision]) -> list[Response]:
    """The first answer and, for each round, a critique of the answer so far and the answer anew. Raises as `ask`."""
    told, said = as_text(prompt), [first]
    for number, asked in enumerate(rounds):
        answer = said[-1].text
        critique = await ask(fill(asked.critique, prompt=told, response=answer), f"critique {number}")
        text = fill(asked.revision, prompt=told, response=answer, critique=critique.text)
        said += [critique, await ask(text, f"revision {number}")]
    return said


def as_text(prompt: Sequence[Message]) -> str:
    """A prompt as text: one turn is its content, several are `Role: content` paragraphs."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)
