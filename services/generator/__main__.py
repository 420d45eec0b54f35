"""`python -m services.generator`: one replica, settings from the environment."""

import uvicorn

from selfreward.server.startup import prepare
from services.generator.app import create_app
from services.generator.settings import DEFAULT_PORT, GeneratorSettings


def main() -> None:
    """Serve until SIGTERM, then let requests finish and stop the engine."""
    settings, app = prepare(GeneratorSettings, create_app)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        backlog=4096,
        # Longer than any client keeps an idle connection, so that none is closed under a request just being sent.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


if __name__ == "__main__":
    main()
