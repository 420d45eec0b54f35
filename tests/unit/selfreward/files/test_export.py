"""Exported pairs are what TRL and `datasets` read, as JSON Lines, as a folder with a card, and as Parquet."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Features, List, Value, load_dataset

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.files.export import check_out, write_export
from selfreward.files.rows import RowError
from selfreward.loop.export import COLUMNS, Layout, card, export_pairs, labelled_answers
from selfreward.store.artifacts import ArtifactStore
from tests.support.factories import pair

PAIR = pair()
UNJUDGED = PAIR.model_copy(update={"votes_chosen": [], "votes_rejected": [], "judge_version": "", "rubric": ""})
TURNS = List({"role": Value("string"), "content": Value("string")})
NUMBERS = List(Value("float64"))


def store_with(folder: Path, *pairs: PreferencePair) -> ArtifactStore:
    """A store in which these pairs trained M2 of the run `one`."""
    store = ArtifactStore(str(folder / "store"))
    store.write_jsonl("runs/one/pairs/M2.jsonl", [pair.model_dump(mode="json") for pair in pairs])
    return store


def exported(folder: Path, name: str, layout: Layout, *pairs: PreferencePair) -> Any:
    """The exported pairs as a file of that name, read by `datasets`."""
    out = folder / name
    write_export(export_pairs(store_with(folder, *pairs), "one", "M2", layout), out, layout)
    kind = {".jsonl": "json", ".parquet": "parquet"}[out.suffix]
    return load_dataset(kind, data_files=str(out), split="train", cache_dir=str(folder / "cache"))


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.parquet"])
def test_datasets_loads_the_file_in_trls_conversational_shape(tmp_path: Path, name: str) -> None:
    rows = exported(tmp_path, name, "pairs", PAIR, UNJUDGED)
    assert [row["votes_chosen"] for row in rows] == [[4.0, 5.0, None], []]
    row = rows[0]
    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert row["chosen"] == [{"role": "assistant", "content": "good"}]
    assert row["rejected"] == [{"role": "assistant", "content": "bad"}]
    assert (row["score_chosen"], row["margin"], row["weight"]) == (4.5, 2.5, None)
    assert set(row) == set(COLUMNS["pairs"])


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.parquet"])
def test_answers_for_kto_have_the_same_columns_in_both_forms(tmp_path: Path, name: str) -> None:
    rows = exported(tmp_path, name, "kto", PAIR)
    assert rows.features == Features(
        {"prompt": TURNS, "completion": TURNS, "label": Value("bool"), "prompt_id": Value("string")}
    )
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [("good", True), ("bad", False)]


def test_columns_that_are_always_null_have_their_type_in_parquet_and_in_the_kept_folder(tmp_path: Path) -> None:
    of_parquet = exported(tmp_path, "pairs.parquet", "pairs", UNJUDGED)
    folder = tmp_path / "store/runs/one/export/M2"
    of_folder = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert of_folder.features == of_parquet.features
    assert {"votes_chosen": NUMBERS, "weight": Value("float64"), "separator": Value("string")}.items() <= dict(
        of_folder.features
    ).items()
    assert of_folder.to_list() == of_parquet.to_list()
    assert "policy@2; rubric: none (no judge)" in (folder / "README.md").read_text()


def test_a_file_is_named_for_its_form_and_parquet_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_out(tmp_path / "pairs.parquet")
    with pytest.raises(RowError, match=r"pairs\.csv ends in '\.csv': choose \.jsonl or \.parquet"):
        check_out(tmp_path / "pairs.csv")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(RowError, match=r"pip install 'selfreward-loop\[parquet\]', or use \.jsonl"):
        check_out(tmp_path / "pairs.parquet")
    check_out(tmp_path / "pairs.jsonl")


def test_answers_have_one_label_each_and_those_with_both_are_left_out() -> None:
    other = PAIR.model_copy(update={"chosen": PAIR.rejected, "rejected": [Message(role="assistant", content="worst")]})
    rows = labelled_answers([PAIR, PAIR, other])
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [("good", True), ("worst", False)]
    elsewhere = other.model_copy(update={"prompt": [Message(role="user", content="another question")]})
    assert len(labelled_answers([PAIR, elsewhere])) == 4


def test_pairs_of_steps_say_so_and_are_no_labelled_answers(tmp_path: Path) -> None:
    step = PAIR.model_copy(update={"separator": " ;"})
    store = store_with(tmp_path, step)
    assert json.loads(export_pairs(store, "one", "M2"))["separator"] == " ;"
    assert "no end of turn follows a step" in card("one", "M2", [step])
    with pytest.raises(ValueError, match=r"layout = 'kto' is of whole answers.*export layout 'pairs'"):
        export_pairs(store, "one", "M2", "kto")


def test_a_stage_without_pairs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"runs/one/pairs/M1\.jsonl does not exist: only DPO stages"):
        export_pairs(ArtifactStore(str(tmp_path)), "one", "M1")
