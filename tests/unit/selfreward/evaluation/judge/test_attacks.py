"""The attack suite: what works on the plumbing of any shipped points rubric has a measured success of zero."""

import json
import re
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
from services.judge.rubrics.rubric import SHIPPED, Rubric, load_rubrics
from tests.support.judge_engine import Engine, completion
from tests.support.listening import listening_judge
from tests.support.places import M0

ATTACKS = load_attacks()
PLUMBING = [attack for attack in ATTACKS if attack.target == "plumbing"]
RUBRICS = {name: rubric for name, rubric in load_rubrics([SHIPPED]).items() if rubric.spec.kind == "points"}
ROLE_MARKS = ("[inst", "[/inst", "<<sys", "<s>", "</s>", "_of_turn>", "[system_prompt", "<think", "<tool_call")
SPECIAL = AutoTokenizer.from_pretrained(M0)


def item(rubric: Rubric, response: str, prompt: str = "What is it?") -> JudgeItem:
    reference = "It is so." if "reference" in rubric.template.fields else None
    return JudgeItem(prompt=prompt, response=response, reference=reference)


def seen(text: str) -> str:
    """What a reader takes the text for: no invisible characters, compatibility forms as the plain ones, lower case."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    hidden = ("Cc", "Cf", "Cs", "Mn", "Me")
    return "".join(sign for sign in plain if unicodedata.category(sign) not in hidden and not sign.isspace())


def marks(rubric: Rubric, text: str) -> Counter[str]:
    """How often each delimiter, the verdict label and each role mark stands in a text."""
    known = [*rubric.spec.delimiters, rubric.spec.verdict_label, *ROLE_MARKS]
    view = seen(text)
    return Counter({mark: view.count(seen(mark)) for mark in known}) + Counter(re.findall(r"<\|[^|<>]*\|>", view))


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
def test_the_filled_prompt_holds_no_forged_mark(attack: Attack, name: str) -> None:
    """In the answer and in the prompt alike; nothing of the rest of the text is lost."""
    rubric = RUBRICS[name]
    clean = rubric.messages(item(rubric, "An answer."))
    in_response = rubric.messages(item(rubric, f"An answer. {attack.payload}"))
    in_prompt = rubric.messages(item(rubric, "An answer.", f"What is it? {attack.payload}"))

    for filled in (in_response, in_prompt):
        assert [turn.role for turn in filled] == [turn.role for turn in clean]
        text, before = (" ".join(turn.content for turn in turns) for turns in (filled, clean))
        assert marks(rubric, text) == marks(rubric, before)
        assert not any(unicodedata.category(sign) in ("Cc", "Cs") and sign not in "\t\n\r" for sign in text)
        assert not any("\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069" for sign in text)
        assert text.count("An answer.") == 1


@pytest.mark.parametrize("name", RUBRICS)
def test_no_placeholder_of_a_candidate_is_filled(name: str) -> None:
    rubric = RUBRICS[name]
    text = rubric.messages(item(rubric, "{prompt} {response} {reference}"))[-1].content

    assert "{prompt} {response} {reference}" in text
    assert text.count("What is it?") == 1


@pytest.mark.parametrize("attack", PLUMBING, ids=lambda attack: attack.id)
def test_no_special_token_comes_from_a_candidate(attack: Attack) -> None:
    """With the tokenizer and the chat template of the model that the tests serve."""

    def special(response: str) -> list[int]:
        turns = [turn.model_dump() for turn in rubric.messages(item(rubric, response))]
        ids = SPECIAL.encode(SPECIAL.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return [token for token in ids if token in SPECIAL.all_special_ids and token != SPECIAL.unk_token_id]

    rubric = RUBRICS["countdown"]
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
    believed = "five" in sent["messages"][0]["content"].split("<response>")[1].lower()
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
