"""Compiles each new grammar once in a child process before the engine may see it, within a time and a memory limit."""

import asyncio
import hashlib
import json
import logging
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from selfreward.server.errors import ApiError
from services.generator.gateway.grammars import Grammar

# It runs as a file: this process must not load what it loads.
_CHILD = Path(__file__).resolve().with_name("trial_child.py")
_MAX_WAITING = 64
_MAX_REMEMBERED = 4096
# The child reads its libraries first, which a busy machine takes long for.
_STARTS_WITHIN = 120.0
_ANSWERS_WITHIN = 60.0
_log = logging.getLogger(__name__)


class GrammarTrial:
    """Tries grammars with the tokenizer in `folder()`, one at a time. `folder` gives None before anything is served."""

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        self._folder = folder
        self._verdicts: OrderedDict[bytes, str | None] = OrderedDict()
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def check(self, grammar: Grammar) -> None:
        """Raise ApiError: 400 for a grammar that does not compile within the limits, 429 when too many wait."""
        name = hashlib.sha256(f"{grammar.kind}:{grammar.text}".encode(errors="surrogatepass")).digest()
        if name not in self._verdicts:
            if self._waiting >= _MAX_WAITING:
                raise ApiError(429, f"{self._waiting} new grammars wait to be tried; try again", code="overloaded")
            self._waiting += 1
            try:
                async with self._turn:
                    if name not in self._verdicts:
                        self._remember(name, await self._ask(grammar))
            finally:
                self._waiting -= 1
        self._verdicts.move_to_end(name)
        if reason := self._verdicts[name]:
            raise ApiError(400, f"{grammar.field}: the {grammar.kind} {reason}", grammar.field, "too_complex")

    def _remember(self, name: bytes, reason: str | None) -> None:
        self._verdicts[name] = reason
        while len(self._verdicts) > _MAX_REMEMBERED:
            self._verdicts.popitem(last=False)

    async def _ask(self, grammar: Grammar) -> str | None:
        """What the child says against a grammar; None when nothing."""
        folder = self._folder()
        if folder is None:
            return None
        try:
            child = self._child = self._child or await _start(folder)
            assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both are pipes
            child.stdin.write(json.dumps([grammar.kind, grammar.text]).encode() + b"\n")
            async with asyncio.timeout(_ANSWERS_WITHIN):
                line = await child.stdout.readline()
            reason: str | None = json.loads(line)
        except (OSError, ValueError, TimeoutError) as error:
            await self.close()
            _log.exception("a grammar could not be tried")
            raise ApiError(503, "the grammar could not be tried: try again", code="trial_failed") from error
        except asyncio.CancelledError:
            # Its answer would be taken for that of the next one.
            await self.close()
            raise
        return reason

    async def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None and child.returncode is None:
            child.kill()
            await child.wait()


async def _start(folder: Path) -> asyncio.subprocess.Process:
    command, pipe = [sys.executable, str(_CHILD), str(folder)], subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(_STARTS_WITHIN):
            if await child.stdout.readline() != b"ready\n":
                raise OSError("the child that tries grammars did not start")
    except BaseException:
        if child.returncode is None:
            child.kill()
        await child.wait()
        raise
    return child
