"""A server that drains on SIGTERM: it reports not ready, then stops accepting, then finishes what is in flight."""

import asyncio
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """On SIGTERM sets `app.state.draining`, so that `/readyz` answers 503.

    After `notice` seconds, in which load balancers can notice it, the server accepts no more connections, and requests
    in flight have `timeout_graceful_shutdown` seconds to end. SIGINT, or a second SIGTERM, skips the notice.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, notice: float) -> None:
        super().__init__(config)
        self.app = app
        self.notice = notice

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM. uvicorn calls it."""
        if sig == signal.SIGINT or self.app.state.draining or not self.started:
            self.app.state.draining = True
            super().handle_exit(sig, frame)
            return
        self.app.state.draining = True
        loop, shut_down = asyncio.get_running_loop(), super().handle_exit
        loop.call_soon_threadsafe(loop.call_later, self.notice, shut_down, sig, frame)
