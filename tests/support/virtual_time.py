"""An event loop on which waiting takes no time: when every task waits, the clock jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Clock(selectors.DefaultSelector):
    """Selects what is ready now, and adds what it would have waited for to `seconds`."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(None if timeout is None else 0)
        self.seconds += 0 if ready else timeout or 0
        return ready


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """As `asyncio.run`, in virtual time: `loop.time()` is that of the timers. Nothing may wait for another thread."""
    clock = _Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.seconds  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)
