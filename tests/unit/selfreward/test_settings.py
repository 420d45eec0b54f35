"""Settings keep their secrets to themselves."""

import pytest
from pydantic import SecretStr, ValidationError

from selfreward.server.keys import new_key
from services.judge.settings import JudgeSettings


def test_settings_never_show_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    key = new_key()
    monkeypatch.setenv("SELFREWARD_API_KEY", key)

    settings = JudgeSettings(judge_engine_key=SecretStr(key))

    assert settings.api_key == SecretStr(key)
    assert key not in f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"


KEYS = ("api_key", "judge_engine_key")


@pytest.mark.parametrize("name", KEYS)
def test_white_space_around_a_key_is_no_part_of_it(name: str) -> None:
    assert getattr(JudgeSettings.model_validate({name: " sk-good\r\n"}), name) == SecretStr("sk-good")
    assert getattr(JudgeSettings.model_validate({name: "\n"}), name) is None


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("key", ["sk-go\nod", "sk-go\rod", "sk-göod", "sk-\x00od"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(name: str, key: str) -> None:
    with pytest.raises(ValidationError, match="has a line break or a sign that is not ASCII: copy the key") as refused:
        JudgeSettings.model_validate({name: key})
    assert key not in str(refused.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "host/v1", "ftp://host/v1"])
def test_an_engine_needs_a_web_address(url: str) -> None:
    with pytest.raises(ValidationError, match="is no address that begins with http:// or https://: https://HOST/v1"):
        JudgeSettings(judge_engine_url=url)
