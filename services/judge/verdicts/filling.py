"""Fill the prompts of a request without stopping the event loop: a large request is filled in a thread of its own."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.judge.engine.tokenizer import EngineTokens
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, suspects
from services.judge.rubrics.template import Template, Value, texts_of

Result = TypeVar("Result")

_AT_ONCE_CHARACTERS = 20_000
"""What is filled in about a millisecond."""
# One thread: more of them would only contend with the event loop for the interpreter.
_thread = ThreadPoolExecutor(1, "fill-prompts")


async def fill_prompts(template: Template, values: Sequence[Mapping[str, Value]], tokens: EngineTokens) -> list[str]:
    """The filled prompt of each of the `values`, for the engine with these special tokens."""

    def texts() -> Iterator[str]:
        return (text for each in values for value in each.values() for text in texts_of(value))

    async def perform(work: Callable[[], Result]) -> Result:
        return work() if small else await asyncio.get_running_loop().run_in_executor(_thread, work)

    small = sum(map(len, texts())) < _AT_ONCE_CHARACTERS
    # Most texts have nothing that is a special token of any tokenizer, so the engine need not be asked.
    doubtful = await perform(lambda: suspects(texts()))
    present = await tokens.among(doubtful) if doubtful else UNKNOWN_ENGINE
    return await perform(lambda: [template.fill(each, present) for each in values])
