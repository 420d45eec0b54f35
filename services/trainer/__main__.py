"""`python -m services.trainer`: one worker, settings from the environment."""

import uvicorn

from selfreward.startup import prepare
from services.trainer.app import create_app
from services.trainer.settings import DEFAULT_PORT, TrainerSettings


def main() -> None:
    """Work until SIGTERM; then the child is stopped and its job left for another worker, or the next start."""
    settings, app = prepare(TrainerSettings, create_app)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
