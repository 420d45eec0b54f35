"""Pairs of single steps as tokens, by the demo model's tokenizer and template."""

from typing import Any

import pytest

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.store.artifacts import ArtifactStore
from services.trainer.training.checks import JobRefused, load_tokenizer, render
from services.trainer.training.data import dpo_rows, pair_ids
from tests.support.places import M0

_NAME = "runs/t/pairs/M2.jsonl"
_QUESTION = "Use 7 3 12 to make 33 ."
_BEGUN = " 7 * 3 = 21 ;"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The demo model's tokenizer."""
    return load_tokenizer(M0, [Message(role="user", content=_QUESTION)])


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(store_root)


def pair(chosen: str, rejected: str, begun: str = "", separator: str | None = " ;", **changes: Any) -> PreferencePair:
    turns = [("user", _QUESTION), *([("assistant", begun)] if begun else [])]
    return PreferencePair(
        prompt=[Message.model_validate({"role": role, "content": text}) for role, text in turns],
        chosen=[Message(role="assistant", content=chosen)],
        rejected=[Message(role="assistant", content=rejected)],
        prompt_id="p0",
        score_chosen=3,
        score_rejected=1,
        separator=separator,
        policy_version="policy@1",
        judge_version="policy@1",
        rubric="r",
        **changes,
    )


def shown(tokenizer: Any, ids: list[int]) -> str:
    return " ".join(tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize(
    ("begun", "chosen", "rejected", "tokens"),
    [
        ("", " 7 * 3 = 21 ;", " 7 + 3 = 10 ;", ("", "7 * 3 = 21 ;", "7 + 3 = 10 ;")),
        ("", " 7 * 3 = 21 ;", " 7 * 3 = 33", ("", "7 * 3 = 21 ;", "7 * 3 = 33 <|eos|>")),
        (_BEGUN, " 21 + 12 = 33", " 21 + 12 = 30", (" 7 * 3 = 21 ;", "21 + 12 = 33 <|eos|>", "21 + 12 = 30 <|eos|>")),
        (_BEGUN, " 21 + 12 = 33", " 21 - 12 = 9 ;", (" 7 * 3 = 21 ;", "21 + 12 = 33 <|eos|>", "21 - 12 = 9 ;")),
    ],
)
def test_only_the_last_step_has_an_end_of_turn_and_the_prompt_holds_those_before_it(
    tokenizer: Any, begun: str, chosen: str, rejected: str, tokens: tuple[str, str, str]
) -> None:
    ids = pair_ids(tokenizer, pair(chosen, rejected, begun))
    asked, better, worse = tokens
    assert shown(tokenizer, ids["prompt_ids"]) == f"<|user|> {_QUESTION} <|assistant|>{asked}"
    assert shown(tokenizer, ids["chosen_ids"]) == better
    assert shown(tokenizer, ids["rejected_ids"]) == worse


def test_whole_answers_are_tokens_as_trl_makes_them(tokenizer: Any) -> None:
    ids = pair_ids(tokenizer, pair("7 * 3 = 21 ; 21 + 12 = 33", "7 + 3 = 10", separator=None))
    asked = render(tokenizer, [Message(role="user", content=_QUESTION)], answer_next=True)
    assert ids["prompt_ids"] == asked
    assert shown(tokenizer, ids["chosen_ids"]) == "7 * 3 = 21 ; 21 + 12 = 33 <|eos|>"
    assert shown(tokenizer, ids["rejected_ids"]) == "7 + 3 = 10 <|eos|>"


def test_where_some_pairs_are_of_steps_all_rows_are_tokens(store: ArtifactStore, tokenizer: Any) -> None:
    steps = [pair(" 21 + 12 = 33", " 21 - 12 = 9 ;", _BEGUN), pair(" 7 * 3 = 21 ;", " 7 + 3 = 10 ;")]
    judged = pair("Score: 4", "Score: 1", separator=None, kind="judge")
    store.write_jsonl(_NAME, [row.model_dump(mode="json") for row in (*steps, judged)])
    prepared = dpo_rows(store, [_NAME], tokenizer, 512)
    assert prepared.rows == [pair_ids(tokenizer, row) for row in (*steps, judged)]
    longest = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in prepared.rows]
    assert prepared.lengths == longest == [22, 16, 13]


def test_steps_and_soft_labels_are_not_trained_together(store: ArtifactStore, tokenizer: Any) -> None:
    rows = [pair(" 7 * 3 = 21 ;", " 7 + 3 = 10 ;"), pair("7 * 3 = 21", "7", separator=None, weight=0.8)]
    store.write_jsonl(_NAME, [row.model_dump(mode="json") for row in rows])
    with pytest.raises(JobRefused, match="some pairs have a weight and others are of single steps"):
        dpo_rows(store, [_NAME], tokenizer, 512)


def test_a_step_is_one_message() -> None:
    whole = pair(" 7 * 3 = 21 ;", " 7 + 3 = 10 ;").model_dump()
    two = [{"role": "assistant", "content": "7"}, {"role": "user", "content": "7"}]
    with pytest.raises(ValueError, match="chosen has 2 and rejected 1"):
        PreferencePair.model_validate({**whole, "chosen": two})
