"""`python -m services.judge`: serve the judge until SIGTERM."""

import sys

import uvicorn

from selfreward.telemetry import configure_logging
from services.judge.app import create_app
from services.judge.keys import KeysError
from services.judge.rubric import RubricError
from services.judge.settings import DEFAULT_PORT, JudgeSettings


def main() -> None:
    """Start the server with settings from the environment."""
    settings = JudgeSettings()
    configure_logging(settings.log_level)
    try:
        app = create_app(settings)
    except (KeysError, RubricError) as error:
        sys.exit(str(error))
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=30,
    )


if __name__ == "__main__":
    main()
