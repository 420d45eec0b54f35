"""Grammars are compiled in a child before the engine sees them."""

import asyncio
import time
from importlib.util import find_spec
from typing import Any

import pytest

from selfreward.server.errors import ApiError
from services.generator.gateway.grammars import Grammar
from services.generator.gateway.trial import GrammarTrial
from tests.support.places import M0

pytestmark = pytest.mark.skipif(find_spec("xgrammar") is None, reason="vllm is not installed")


def test_a_new_grammar_is_tried_once_and_what_is_slow_or_large_is_refused() -> None:
    """All in one test, because the child takes long to start."""

    async def scenario() -> None:
        trial = GrammarTrial(lambda: M0)

        async def verdict(kind: Any, text: str) -> str:
            try:
                await trial.check(Grammar("structured_outputs", kind, text))
            except ApiError as refused:
                return f"{refused.status} {refused}"
            return "passes"

        try:
            assert await verdict("regex", "(a|b){3}") == "passes"
            assert (await verdict("regex", "(")).startswith("400 structured_outputs: the regex cannot be compiled")
            assert await verdict("json", '{"type": "object", "properties": {"a": {"type": "integer"}}}') == "passes"
            # 16 kB that held the engine's thread.
            assert "takes longer than 2 s" in await verdict("regex", "a?" * 8000)
            assert await verdict("regex", "(a|c){3}") == "passes"
            # What was said before is said at once.
            began = time.monotonic()
            assert "takes longer" in await verdict("regex", "a?" * 8000)
            assert time.monotonic() - began < 0.1
            # Callers that ask for the same wait for one trial.
            child = trial._child
            same = await asyncio.gather(*(verdict("regex", "(a|b|c){4}") for _ in range(40)))
            assert set(same) == {"passes"}
            assert trial._child is child
            # A child that is gone is replaced.
            assert child is not None
            child.kill()
            await child.wait()
            with pytest.raises(ApiError) as failed:
                await trial.check(Grammar("tools", "regex", "[a-z]+"))
            assert failed.value.status == 503
            assert await verdict("regex", "[a-z]+") == "passes"
        finally:
            await trial.close()

    asyncio.run(scenario())


def test_too_many_new_grammars_at_once_are_refused() -> None:
    async def scenario() -> None:
        trial = GrammarTrial(lambda: M0)
        async with trial._turn:
            waiting = [asyncio.create_task(trial.check(Grammar("tools", "regex", str(n)))) for n in range(64)]
            await asyncio.sleep(0)
            with pytest.raises(ApiError) as refused:
                await trial.check(Grammar("tools", "regex", "one more"))
            assert refused.value.status == 429
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())
