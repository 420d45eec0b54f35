"""Revision: the policy criticises and revises its answer, round by round (Constitutional AI, 2212.08073)."""

from collections.abc import Awaitable, Callable, Sequence

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import Response
from selfreward.loop.constitution import fill
from selfreward.loop.tasks import Revision

Ask = Callable[[str, str], Awaitable[Response]]
"""Asks the policy one user turn. The second text names the question, from which its seed is derived."""


async def revise(ask: Ask, prompt: Sequence[Message], first: Response, rounds: Sequence[Revision]) -> list[Response]:
    """The first answer and, for each round, a critique of the current answer and its revision. Raises as `ask`."""
    prompt_text, responses = as_text(prompt), [first]
    for number, requests in enumerate(rounds):
        answer = responses[-1].text
        critique = await ask(fill(requests.critique, prompt=prompt_text, response=answer), f"critique {number}")
        revision = fill(requests.revision, prompt=prompt_text, response=answer, critique=critique.text)
        responses += [critique, await ask(revision, f"revision {number}")]
    return responses


def as_text(prompt: Sequence[Message]) -> str:
    """A prompt as text: the content of a single turn, or a paragraph `Role: content` for each of several turns."""
    if len(prompt) == 1:
        return prompt[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in prompt)
