"""`python -m services.judge`: one replica, settings from the environment."""

from selfreward.server.main import prepare, serve, server_config
from services.judge.app import create_app
from services.judge.serving.drain import DrainingServer
from services.judge.settings import DEFAULT_PORT, JudgeSettings


def main() -> None:
    """Serve until SIGTERM, then leave in good order (`DrainingServer`)."""
    settings, app = prepare(JudgeSettings, create_app)
    config = server_config(app, settings, DEFAULT_PORT, shutdown_seconds=settings.judge_drain_seconds)
    serve(DrainingServer(config, app, settings.judge_drain_notice))


if __name__ == "__main__":
    main()
