"""`python -m orchestrator`: one replica, settings from the environment."""

import uvicorn

from orchestrator.app import create_app
from orchestrator.settings import OrchestratorSettings
from selfreward.server.startup import prepare

DEFAULT_PORT = 8002


def main() -> None:
    """Serve until SIGTERM."""
    settings, app = prepare(OrchestratorSettings, create_app)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        # Followers of event streams never hang up by themselves.
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
