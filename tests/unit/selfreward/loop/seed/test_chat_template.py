"""Chat templates as models bring them, and the conversations that they refuse."""

import json
from pathlib import Path

import pytest

from selfreward.contracts.base import Message
from selfreward.loop.seed.chat_template import check_of, load_template
from tests.support.places import M0

USER, SYSTEM = Message(role="user", content="Add 1 and 2."), Message(role="system", content="Be brief.")
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
EACH = (
    "{{ bos_token }}{% for m in messages %}{% generation %}<{{ m.role }}>{{ m.content }}{% endgeneration %}{% endfor %}"
)
WITHOUT_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}"
)


def model(folder: Path, template: str) -> Path:
    config = {"chat_template": [{"name": "default", "template": template}], "bos_token": {"content": "<s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_it_writes_what_transformers_writes() -> None:
    transformers = pytest.importorskip("transformers")
    render = load_template(M0)
    assert render is not None
    tokenizer = transformers.AutoTokenizer.from_pretrained(M0)
    turns = [USER.model_dump()]
    assert render([USER]) == tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)


def test_its_tokens_and_tags_are_those_that_templates_use(tmp_path: Path) -> None:
    render = load_template(model(tmp_path, EACH))
    assert render is not None
    assert render([SYSTEM, USER]) == "<s><system>Be brief.<user>Add 1 and 2."


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (STRICT + EACH, "refuses it: System role not supported; this model takes no system turn: write its text into"),
        (WITHOUT_SYSTEM, "leaves out the system turn; this model takes no system turn"),
    ],
)
def test_a_template_without_a_system_role_says_so(tmp_path: Path, template: str, said: str) -> None:
    check = check_of(model(tmp_path, template))
    assert check is not None
    check([USER])
    with pytest.raises(ValueError, match=said):
        check([SYSTEM, USER])


def test_a_template_that_fails_or_is_none_is_told_apart(tmp_path: Path) -> None:
    assert check_of(tmp_path) is None
    failing = check_of(model(tmp_path, "{{ messages[5].content.upper() }}"))
    assert failing is not None
    with pytest.raises(ValueError, match=r"the chat template of .* refuses it: "):
        failing([USER])
    with pytest.raises(ValueError, match="cannot be read: "):
        check_of(model(tmp_path, "{% if %}"))
    reaching = check_of(model(tmp_path, "{{ ''.__class__.__mro__[1].__subclasses__() }}"))
    assert reaching is not None
    with pytest.raises(ValueError, match="unsafe"):
        reaching([USER])
