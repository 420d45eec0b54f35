"""`python -m services.judge`: serve the judge until SIGTERM."""

import sys

import uvicorn

from selfreward.server.startup import prepare
from services.judge.app import create_app
from services.judge.rubrics.rubric import RubricError
from services.judge.serving.drain import DrainingServer
from services.judge.settings import DEFAULT_PORT, JudgeSettings


def main() -> None:
    """Start the server with settings from the environment."""
    try:
        settings, app = prepare(JudgeSettings, create_app)
    except RubricError as error:
        sys.exit(str(error))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=settings.judge_drain_seconds,
    )
    DrainingServer(config, app, settings.judge_drain_notice).run()


if __name__ == "__main__":
    main()
