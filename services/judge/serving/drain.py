"""A server that leaves in good order: first it says so, then it takes nothing on, then it finishes what it has."""

import asyncio
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """On SIGTERM `app.state.draining` turns true, which `/readyz` answers with 503.

    After `notice` seconds, in which load balancers can look, connections are no longer accepted and what is in flight
    has `timeout_graceful_shutdown` to end. SIGINT, or a second SIGTERM, skips the notice.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, notice: float) -> None:
        super().__init__(config)
        self.app = app
        self.notice = notice

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called for SIGINT and SIGTERM."""
        if sig == signal.SIGINT or self.app.state.draining or not self.started:
            self.app.state.draining = True
            super().handle_exit(sig, frame)
            return
        self.app.state.draining = True
        loop, leave = asyncio.get_running_loop(), super().handle_exit
        loop.call_soon_threadsafe(loop.call_later, self.notice, leave, sig, frame)
