"""Rows of seed files and of SFT data."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from selfreward.contracts.base import Contract, Message, as_messages


class SeedError(ValueError):
    """Seed data that cannot be used."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank: write some text or remove the row")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]


def _ends_with_user(messages: list[Message]) -> list[Message]:
    if any(message.role == "tool" for message in messages):
        raise ValueError("has a tool turn, which many chat templates refuse: write what it returned into another turn")
    if messages[-1].role != "user":
        raise ValueError(f"ends with a {messages[-1].role} turn: the last turn must be the user's")
    return messages


Prompt = Text | Annotated[list[Message], Field(min_length=1), AfterValidator(_ends_with_user)]


class PromptRow(Contract):
    """A prompt alone."""

    prompt: Prompt


class RankedResponse(Contract):
    """An answer and its human rank; 1 is the best, equal ranks are ties."""

    text: Text
    rank: float = Field(ge=1)


class IftRow(PromptRow):
    """A demonstration: a prompt and its best human answer."""

    response: Text


class RankedRow(PromptRow):
    """A prompt and its human-ranked answers."""

    responses: list[RankedResponse] = Field(min_length=2)


def messages(prompt: str | list[Message]) -> list[dict[str, object]]:
    """A prompt as JSON chat turns."""
    return [message.model_dump() for message in as_messages(prompt)]


def sft_row(prompt: Sequence[Message], completion: str) -> dict[str, object]:
    """A row of SFT data."""
    return {
        "prompt": [message.model_dump() for message in prompt],
        "completion": [{"role": "assistant", "content": completion}],
    }
