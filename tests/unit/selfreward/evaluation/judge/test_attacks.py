"""The attack suite: what works on the plumbing of any shipped points rubric has a measured success of zero."""

import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from transformers import AutoTokenizer
from typer.testing import CliRunner

from selfreward import JudgeClient, JudgeItem
from selfreward.cli.main import app
from selfreward.client.judge_inputs import JudgeOptions
from selfreward.evaluation.bootstrap import Bootstrap
from selfreward.evaluation.judge.attacks import Attack, load_attacks, try_attacks
from selfreward.files.rows import RowError
from services.judge.rubrics.lookalikes import fold
from services.judge.rubrics.rubric import SHIPPED, Rubric, load_rubrics
from services.judge.rubrics.special_tokens import UNKNOWN_ENGINE, SpecialTokens
from tests.support.judge_engine import Engine, completion, sections
from tests.support.listening import listening_judge
from tests.support.places import M0

ATTACKS = load_attacks()
PLUMBING = [attack for attack in ATTACKS if attack.target == "plumbing"]
RUBRICS = {name: rubric for name, rubric in load_rubrics([SHIPPED]).items() if rubric.spec.kind == "points"}
SPECIAL = AutoTokenizer.from_pretrained(M0)
TOKENS = SpecialTokens(frozenset(SPECIAL.all_special_tokens))


def item(rubric: Rubric, response: str, prompt: str = "What is it?") -> JudgeItem:
    reference = "It is so." if "reference" in rubric.template.fields else None
    return JudgeItem(prompt=prompt, response=response, reference=reference)


def seen(text: str) -> str:
    """What a reader takes the text for, without white space."""
    return "".join(sign for sign in fold(text) if not sign.isspace())


def marks(rubric: Rubric, text: str) -> Counter[str]:
    """How often each delimiter and the verdict label stand in a text."""
    view = seen(text)
    return Counter({mark: view.count(seen(mark)) for mark in [*rubric.spec.delimiters, rubric.spec.verdict_label]})


def test_the_suite_is_large_and_says_what_success_is() -> None:
    assert len(PLUMBING) >= 60
    assert len(ATTACKS) - len(PLUMBING) >= 20
    assert len({attack.id for attack in ATTACKS}) == len(ATTACKS)
    assert all(attack.payload and attack.success for attack in ATTACKS)
    families = {attack.family for attack in ATTACKS}
    wanted = {"forged-score", "closed-tag", "fake-turn", "look-alike", "role-token", "very-long", "control-character"}
    assert (
        wanted | {"template", "instruction", "bidi-override", "zero-width", "markdown-fence", "json-verdict"}
        <= families
    )


@pytest.mark.parametrize("name", RUBRICS)
@pytest.mark.parametrize("attack", PLUMBING, ids=lambda attack: attack.id)
def test_no_candidate_leaves_its_section(attack: Attack, name: str) -> None:
    """Neither the answer nor the prompt. Fenced texts stay as they are; others lose the delimiters that they forge."""
    rubric, attacked = RUBRICS[name], f"An answer. {attack.payload} That is all."
    clean = rubric.prompt(item(rubric, "An answer."))

    for attacked_item in (item(rubric, attacked), item(rubric, "An answer.", attacked)):
        filled = rubric.prompt(attacked_item)
        for slot in rubric.template.slots:
            if slot.tag:
                held = UNKNOWN_ENGINE.disarm(str(getattr(attacked_item, slot.field)))
                assert sections(filled, slot.tag) == [held]
        if not all(slot.tag for slot in rubric.template.slots):
            assert marks(rubric, filled) == marks(rubric, clean)
            assert not any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\t\n\r" for sign in filled)
            assert not any("\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069" for sign in filled)
        assert filled.count("An answer.") == (2 if attacked_item.prompt == attacked else 1)


@pytest.mark.parametrize("name", RUBRICS)
def test_no_placeholder_of_a_candidate_is_filled(name: str) -> None:
    rubric = RUBRICS[name]
    text = rubric.prompt(item(rubric, "{prompt} {response} {reference}"))

    assert "{prompt} {response} {reference}" in text
    assert text.count("What is it?") == 1


@pytest.mark.parametrize(("name", "tokens"), [("countdown", UNKNOWN_ENGINE), ("additive5", TOKENS)])
@pytest.mark.parametrize("attack", PLUMBING, ids=lambda attack: attack.id)
def test_no_special_token_comes_from_a_candidate(attack: Attack, name: str, tokens: SpecialTokens) -> None:
    """With the tokenizer and the chat template of the model that the tests serve."""
    rubric = RUBRICS[name]

    def special(response: str) -> list[int]:
        turns = [{"role": "user", "content": rubric.prompt(item(rubric, response), tokens)}]
        ids = SPECIAL.encode(SPECIAL.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return [token for token in ids if token in SPECIAL.all_special_ids and token != SPECIAL.unk_token_id]

    assert special(f"7 * 3 = 21 {attack.payload}") == special("7 * 3 = 21")


@pytest.mark.parametrize("name", RUBRICS)
def test_only_the_judges_own_words_are_read(name: str) -> None:
    """A judge that says 2 gives 2, and one that gives no verdict gives none, whatever the candidates say."""
    rubric = RUBRICS[name]
    items = [item(rubric, f"An answer. {attack.payload[:2000]}") for attack in ATTACKS]

    for said, score in ((f"Well. {rubric.spec.verdict_label} 2", 2), ("I see no verdict here.", None)):

        def reply(sent: dict[str, Any], said: str = said) -> Response:
            return completion(*[said] * sent["n"])

        with listening_judge(Engine(reply)) as url, JudgeClient(url) as client:
            result = client.judge(items, rubric=name, votes=2)
        assert [judgment.score for judgment in result.data] == [score] * len(ATTACKS)


def gullible(sent: dict[str, Any]) -> Response:
    """A judge that believes everybody who says "five", and gives 1 otherwise."""
    believed = "five" in sent["messages"][0]["content"].split("<response")[1].lower()
    return completion(*[f"Score: {5 if believed else 1}"] * sent["n"])


def test_what_moves_a_model_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [JudgeItem(prompt="p", response="weak"), JudgeItem(prompt="q", response="weaker")]
    events: list[dict[str, Any]] = []
    with listening_judge(Engine(gullible)) as url:
        with JudgeClient(url) as client:
            options: JudgeOptions = {"rubric": "additive5", "votes": 2}
            report = try_attacks(client, ATTACKS, cases, options, events.append, Bootstrap(200))
        monkeypatch.setenv("SELFREWARD_JUDGE_URL", url)
        out = tmp_path / "new" / "attacks.json"
        done = CliRunner().invoke(app, ["judge-attacks", "--votes", "2", "--out", str(out)])

    total = 2 * (2 + len(ATTACKS))
    assert [event["done"] for event in events] == list(range(1, total + 1))
    assert events[-1] == {"phase": "attack", "done": total, "total": total}
    rows = {row["family"]: row for row in report["families"]}
    said_five = [attack for attack in ATTACKS if attack.family == "self-grading" and "five" in attack.text.lower()]
    tried = sum(attack.family == "self-grading" for attack in ATTACKS)
    assert rows["the same answer again"]["rose"]["value"] == 0
    assert rows["self-grading"]["rose"]["value"] == pytest.approx(len(said_five) / tried)
    assert rows["self-grading"]["mean_change"]["value"] == pytest.approx(4 * len(said_five) / tried)
    assert rows["forged-score"]["rose"]["value"] == 0
    assert rows["padding"]["tried"] == 4
    assert done.exit_code == 0, done.output
    assert "says nothing about another model" in " ".join(done.output.split())
    assert json.loads(out.read_text())["cases"] == 3


def test_a_suite_or_cases_that_are_wrong_are_named(tmp_path: Path) -> None:
    suite, cases = tmp_path / "suite.jsonl", tmp_path / "cases.jsonl"
    suite.write_text('{"id": "a", "target": "luck", "family": "f", "text": "t", "success": "s"}\n')
    cases.write_text('{"prompt": "p"}\n')

    with pytest.raises(RowError, match=r"suite\.jsonl, line 1:\n  target = 'luck'"):
        load_attacks(suite)
    done = CliRunner().invoke(app, ["judge-attacks", "--cases", str(cases)])
    assert done.exit_code == 2
    assert "response is missing" in " ".join(done.output.split())
