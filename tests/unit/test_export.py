"""Exported pairs are what TRL and `datasets` read."""

import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from orchestrator.export import card, export_pairs, parquet
from orchestrator.kto import labelled_answers
from selfreward.artifacts import ArtifactStore
from selfreward.contracts import Message, PreferencePair

PAIR = PreferencePair(
    prompt=[Message(role="user", content="q")],
    chosen=[Message(role="assistant", content="good")],
    rejected=[Message(role="assistant", content="bad")],
    prompt_id="prompts-00001",
    score_chosen=4.5,
    score_rejected=2.0,
    votes_chosen=[4.0, 5.0, None],
    votes_rejected=[2.0, 2.0, 2.0],
    policy_version="policy@2",
    judge_version="policy@2",
    rubric="additive5@sha256:0123456789ab",
)


def test_parquet_is_loaded_by_datasets_in_trls_conversational_shape(tmp_path: Path) -> None:
    store = ArtifactStore(str(tmp_path / "store"))
    store.write_jsonl("runs/one/pairs/M2.jsonl", [PAIR.model_dump(mode="json")] * 2)
    file = tmp_path / "pairs.parquet"
    file.write_bytes(export_pairs(store, "one", "M2"))
    loaded = load_dataset("parquet", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == 2
    row = loaded[0]
    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert row["chosen"] == [{"role": "assistant", "content": "good"}]
    assert row["rejected"] == [{"role": "assistant", "content": "bad"}]
    assert (row["score_chosen"], row["margin"], row["votes_chosen"]) == (4.5, 2.5, [4.0, 5.0, None])
    folder = Path(store.path("runs/one/export/M2"))
    whole = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(whole) == 2
    assert "policy@2" in (folder / "README.md").read_text()


def test_answers_have_one_label_each_and_those_with_both_are_left_out() -> None:
    other = PAIR.model_copy(update={"chosen": PAIR.rejected, "rejected": [Message(role="assistant", content="worst")]})
    rows = labelled_answers([PAIR, PAIR, other])
    assert [(row["completion"][0]["content"], row["label"]) for row in rows] == [("good", True), ("worst", False)]
    elsewhere = other.model_copy(update={"prompt": [Message(role="user", content="another question")]})
    assert len(labelled_answers([PAIR, elsewhere])) == 4


def test_pairs_of_steps_say_so_and_are_no_labelled_answers(tmp_path: Path) -> None:
    step = PAIR.model_copy(update={"separator": " ;"})
    (row,) = pq.read_table(io.BytesIO(parquet([step]))).to_pylist()
    assert row["separator"] == " ;"
    assert "no end of turn follows a step" in card("one", "M2", [step])
    store = ArtifactStore(str(tmp_path))
    store.write_jsonl("runs/one/pairs/M2.jsonl", [step.model_dump(mode="json")])
    with pytest.raises(ValueError, match=r"layout = 'kto' is of whole answers.*export layout 'pairs'"):
        export_pairs(store, "one", "M2", "kto")


def test_a_stage_without_pairs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"runs/one/pairs/M1\.jsonl does not exist: only DPO stages"):
        export_pairs(ArtifactStore(str(tmp_path)), "one", "M1")
