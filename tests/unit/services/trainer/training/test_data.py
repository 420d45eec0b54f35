"""Rows that train, rows that are refused with file, row number, field and remedy, and rows that are left out."""

from typing import Any

import pytest

from selfreward.contracts.base import Message
from selfreward.store.artifacts import ArtifactStore
from services.trainer.training.checks import JobRefused, load_tokenizer
from services.trainer.training.data import IGNORED, dpo_rows, sft_rows
from tests.support.places import M0

_NAME = "runs/t/data/rows.jsonl"
_QUESTION = [{"role": "user", "content": "Use 7 3 12 to make 33 ."}]
_ANSWER = [{"role": "assistant", "content": "7 * 3 = 21 ; 21 + 12 = 33"}]
_OTHER = [{"role": "assistant", "content": "7 + 3 = 10 ; 10 + 12 = 22"}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """The demo model's tokenizer."""
    return load_tokenizer(M0, [Message(role="user", content="Use 7 3 12 to make 33 .")])


@pytest.fixture
def store(store_root: str) -> ArtifactStore:
    """An empty store."""
    return ArtifactStore(store_root)


def _pair(**changes: Any) -> dict[str, Any]:
    row = {"prompt": _QUESTION, "chosen": _ANSWER, "rejected": _OTHER, "prompt_id": "p", "score_chosen": 4.0}
    row |= {"score_rejected": 1.0, "policy_version": "policy@1", "judge_version": "policy@1", "rubric": "countdown"}
    return row | changes


def test_labels_are_on_the_completion_and_its_end_of_turn_only(store: ArtifactStore, tokenizer: Any) -> None:
    store.write_jsonl(_NAME, [{"prompt": _QUESTION, "completion": _ANSWER}])
    row = sft_rows(store, [_NAME], tokenizer, 512).rows[0]
    learnt = [label for label in row["labels"] if label != IGNORED]
    assert learnt[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(learnt[:-1]).split() == _ANSWER[0]["content"].split()
    assert row["input_ids"][-len(learnt) :] == learnt
    assert row["labels"][: -len(learnt)] == [IGNORED] * (len(row["input_ids"]) - len(learnt))
    assert tokenizer.decode(row["input_ids"][: -len(learnt)]).endswith("<|assistant|>")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": _QUESTION}, r"rows\.jsonl row 2.*\n  completion is missing: add it"),
        ({"prompt": _QUESTION, "completion": []}, r"row 2.*\n  completion = \[\]"),
        ({"prompt": _QUESTION, "completion": _ANSWER, "weight": 1}, r"row 2.*\n  weight = 1: unknown key"),
        ({"prompt": _QUESTION, "completion": _QUESTION}, r"row 2: completion has roles \['user'\]"),
        (
            {"prompt": _QUESTION, "completion": [{"role": "assistant", "content": " "}]},
            r"row 2: completion is an empty",
        ),
        ({"prompt": [{"role": "bot", "content": "x"}], "completion": _ANSWER}, r"row 2.*\n  prompt\.0\.role = 'bot'"),
    ],
)
def test_bad_sft_rows_are_refused(store: ArtifactStore, tokenizer: Any, row: dict[str, Any], message: str) -> None:
    store.write_jsonl(_NAME, [{"prompt": _QUESTION, "completion": _ANSWER}, row])
    with pytest.raises(JobRefused, match=message):
        sft_rows(store, [_NAME], tokenizer, 512)


def test_bad_pairs_are_refused(store: ArtifactStore, tokenizer: Any) -> None:
    store.write_jsonl(_NAME, [_pair(), _pair(), _pair(score_rejected=4.0)])
    with pytest.raises(JobRefused, match=r"rows\.jsonl row 3(.|\n)*not above score_rejected=4\.0: drop ties"):
        dpo_rows(store, [_NAME], tokenizer, 512)


def test_a_line_that_is_no_json_is_refused(store: ArtifactStore, tokenizer: Any) -> None:
    store.write_bytes(_NAME, b'{"prompt": \n')
    with pytest.raises(JobRefused, match="row 1 is not JSON"):
        sft_rows(store, [_NAME], tokenizer, 512)


def test_missing_and_empty_datasets_are_refused(store: ArtifactStore, tokenizer: Any) -> None:
    with pytest.raises(JobRefused, match="'absent' does not exist"):
        sft_rows(store, ["absent"], tokenizer, 512)
    store.write_bytes(_NAME, b"")
    with pytest.raises(JobRefused, match="no rows"):
        sft_rows(store, [_NAME], tokenizer, 512)


def test_a_few_overlong_rows_are_left_out_and_counted(store: ArtifactStore, tokenizer: Any) -> None:
    long = [{"role": "assistant", "content": "1 + 1 = 2 ; " * 20}]
    rows = [{"prompt": _QUESTION, "completion": _ANSWER}] * 199
    store.write_jsonl(_NAME, [*rows, {"prompt": _QUESTION, "completion": long}])
    prepared = sft_rows(store, [_NAME], tokenizer, 64)
    assert (len(prepared.rows), len(prepared.lengths), prepared.overlong) == (199, 199, 1)


def test_many_overlong_rows_are_refused(store: ArtifactStore, tokenizer: Any) -> None:
    store.write_jsonl(_NAME, [{"prompt": _QUESTION, "completion": _ANSWER}] * 4)
    with pytest.raises(JobRefused, match=r"4 of 4 rows are longer than 10 tokens: .*row 1.*raise max_length"):
        sft_rows(store, [_NAME], tokenizer, 10)


def test_pairs_of_one_text_are_left_out_and_counted(store: ArtifactStore, tokenizer: Any) -> None:
    store.write_jsonl(_NAME, [_pair(), _pair(rejected=_ANSWER)])
    prepared = dpo_rows(store, [_NAME], tokenizer, 512)
    assert (len(prepared.rows), prepared.identical) == (1, 1)
    assert set(prepared.rows[0]) == {"prompt", "chosen", "rejected"}
