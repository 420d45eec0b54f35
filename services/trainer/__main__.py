"""`python -m services.trainer`: one worker, settings from the environment."""

import os
import sys

import uvicorn

from selfreward.contracts.training import TrainStatus
from selfreward.server.main import prepare, serve, server_config
from services.trainer.app import create_app
from services.trainer.settings import DEFAULT_PORT, TrainerSettings


def main() -> None:
    """Work until SIGTERM; then the child is stopped and its job left for another worker, or the next start.

    With `train_job`, until that job has ended; the exit status says how.
    """
    settings, app = prepare(TrainerSettings, create_app)
    server = uvicorn.Server(server_config(app, settings, DEFAULT_PORT, shutdown_seconds=5))

    def leave() -> None:
        server.should_exit = True

    app.state.leave = leave
    serve(server)
    if settings.train_job:
        sys.exit(exit_status(app.state.worker.outcome))


def exit_status(outcome: TrainStatus | None) -> int:
    """0 for a job that is done, 65 for one that no other attempt helps, 1 for one that did not end here."""
    if outcome is None:
        return 1
    return 0 if outcome.state == "done" else os.EX_DATAERR


if __name__ == "__main__":
    main()
