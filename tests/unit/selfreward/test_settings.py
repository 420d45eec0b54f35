"""Settings keep their secrets to themselves."""

import pytest
from pydantic import SecretStr

from selfreward.server.keys import new_key
from services.judge.settings import JudgeSettings


def test_settings_never_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    monkeypatch.setenv("SELFREWARD_API_KEY", key)

    settings = JudgeSettings(judge_engine_key=SecretStr(key))

    assert settings.api_key == SecretStr(key)
    assert key not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"
