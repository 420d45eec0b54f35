"""A large request is filled beside the event loop, which goes on meanwhile."""

import asyncio
import time

import pytest

from selfreward.client.http import ServiceClient
from services.judge.engine.tokenizer import EngineTokens
from services.judge.rubrics.rubric import SHIPPED, load_rubric
from services.judge.verdicts.filling import fill_prompts

TEXT = "Длинный ответ на вопрос: 日本語と中文，العربية и ещё немного текста. " * 100


@pytest.mark.parametrize("name", ["additive5", "countdown"])
def test_filling_many_long_texts_takes_next_to_nothing_from_the_event_loop(name: str) -> None:
    """CPU time of the loop's thread, compared with the whole process, does not depend on how busy the machine is."""
    template = load_rubric(SHIPPED / name).template
    values = [{"prompt": TEXT, "response": f"{number} {TEXT}"} for number in range(256)]

    async def scenario() -> tuple[float, float, int]:
        turns = 0

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        async with ServiceClient("http://nobody") as client:
            taking = asyncio.create_task(take_turns())
            started, whole = time.thread_time(), time.process_time()
            filled = await fill_prompts(template, values, EngineTokens(client, "m"))
            loop, whole = time.thread_time() - started, time.process_time() - whole
            taking.cancel()
        assert [TEXT[:500] in prompt for prompt in filled] == [True] * len(values)
        return loop, whole, turns

    loop, whole, turns = asyncio.run(scenario())

    assert loop < 0.25 * whole
    assert turns > 5
