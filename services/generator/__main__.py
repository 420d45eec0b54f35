"""`python -m services.generator`: one replica, settings from the environment."""

import uvicorn

from selfreward.server.main import prepare, serve, server_config
from services.generator.app import DESCRIPTORS_EACH, create_app
from services.generator.settings import DEFAULT_PORT, GeneratorSettings


def main() -> None:
    """Serve until SIGTERM, then let requests finish and stop the engine."""
    settings, app = prepare(GeneratorSettings, create_app)
    config = server_config(
        app,
        settings,
        DEFAULT_PORT,
        shutdown_seconds=settings.drain_seconds,
        # Longer than any client keeps an idle connection, so that none is closed under a request just being sent.
        keep_alive_seconds=120,
        backlog=4096,
        descriptors_each=DESCRIPTORS_EACH,
    )
    serve(uvicorn.Server(config))


if __name__ == "__main__":
    main()
