"""`python -m services.trainer`: one worker, settings from the environment."""

import uvicorn

from selfreward.telemetry import configure_logging
from services.trainer.app import create_app
from services.trainer.settings import DEFAULT_PORT, TrainerSettings


def main() -> None:
    """Work until SIGTERM; then the child is stopped and its job left for another worker, or the next start."""
    settings = TrainerSettings()
    configure_logging(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
