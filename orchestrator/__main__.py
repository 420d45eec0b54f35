"""`python -m orchestrator`: one replica, settings from the environment."""

import uvicorn

from orchestrator.app import create_app
from orchestrator.settings import OrchestratorSettings
from selfreward.telemetry import configure_logging

DEFAULT_PORT = 8002


def main() -> None:
    """Serve until SIGTERM."""
    settings = OrchestratorSettings()
    configure_logging(settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port or DEFAULT_PORT,
        log_config=None,
        access_log=False,
        # Followers of event streams never hang up by themselves.
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
