"""The table of engines: from text, from a file and from a mounted secret; what is refused, and that no key is shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.judge.engine.named import EnginesError, key_of, load_engines
from services.judge.settings import JudgeSettings

KEY = "hidden"
TABLE = f'[one]\nurl = "https://host/v1"\nmodel = "m"\nkey = "{KEY}"\nparameters = {{ top_k = 5 }}\n'


def test_text_file_and_secret_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "engines.toml"
    path.write_text(TABLE)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "selfreward_judge_engines").write_text(TABLE)
    monkeypatch.setenv("SELFREWARD_SECRETS_DIR", str(tmp_path / "secrets"))

    tables = [
        load_engines(setting) for setting in (SecretStr(TABLE), SecretStr(str(path)), JudgeSettings().judge_engines)
    ]

    (engine,) = tables[0].values()
    assert tables == [{"one": engine}] * 3
    assert (engine.url, engine.model, key_of(engine), engine.parameters) == (
        "https://host/v1",
        "m",
        "hidden",
        {"top_k": 5},
    )
    assert load_engines(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "nowhere.toml",
            "SELFREWARD_JUDGE_ENGINES='nowhere.toml' cannot be read (No such file or directory): give a file",
        ),
        (TABLE + "}", "SELFREWARD_JUDGE_ENGINES is not valid TOML: "),
        (TABLE.replace("https://", ""), "one.url: is no address that begins with http:// or https://"),
        (TABLE.replace("model", "modell"), "one.model is missing: add it"),
        (TABLE.replace("model", "modell"), "one.modell: unknown key"),
        (TABLE.replace("[one]", '["one two"]'), "one two.[key]: String should match pattern"),
        ('one = "https://hidden"', "one: "),
    ],
)
def test_a_table_that_is_wrong_is_refused_without_its_values(text: str, message: str) -> None:
    with pytest.raises(EnginesError) as caught:
        load_engines(SecretStr(text))

    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)
