"""Preference data of a run as other tools read it: TRL's conversational format in Parquet, with a dataset card."""

import io
from collections.abc import Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator import plan
from orchestrator.kto import kto_parquet
from selfreward.artifacts import ArtifactStore
from selfreward.contracts import PreferencePair

Layout = Literal["pairs", "kto"]
"""TRL's preference format, or single answers with a label for KTO."""

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_VOTES = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        ("prompt", _TURNS),
        ("chosen", _TURNS),
        ("rejected", _TURNS),
        ("score_chosen", pa.float64()),
        ("score_rejected", pa.float64()),
        ("margin", pa.float64()),
        ("votes_chosen", _VOTES),
        ("votes_rejected", _VOTES),
        ("kind", pa.string()),
        ("judge_version", pa.string()),
        ("policy_version", pa.string()),
        ("rubric", pa.string()),
        ("prompt_id", pa.string()),
        ("weight", pa.float64()),
        ("separator", pa.string()),
    ]
)


def parquet(pairs: Sequence[PreferencePair]) -> bytes:
    """Pairs as one Parquet file with the columns of `SCHEMA`."""
    rows = [{**pair.model_dump(mode="json"), "margin": pair.margin} for pair in pairs]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def card(run: str, stage: str, pairs: Sequence[PreferencePair]) -> str:
    """The dataset card (README.md), whose header tells `datasets` where the file is and what its columns are for."""
    versions = ", ".join(sorted({pair.policy_version for pair in pairs}))
    rubrics = ", ".join(sorted({pair.rubric or "none (no judge)" for pair in pairs}))
    actor = sum(pair.kind == "actor" for pair in pairs)
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
task_categories:
- text-generation
tags:
- preference
- dpo
- trl
- self-rewarding
---
# Preference pairs: run {run}, stage {stage}

{len(pairs)} pairs that trained {stage}: {actor} of two answers to a prompt (`kind` = `actor`) and
{len(pairs) - actor} of two judgments of an answer (`judge`). Written by {versions}; rubric: {rubrics}.

`prompt`, `chosen`, `rejected` are chat turns (TRL's conversational preference format with an explicit prompt).
`score_*` are means of the valid `votes_*` in rubric points (judge pairs: agreement with the human ranking, 1 and 0);
`margin` is their difference; `weight`, where there is one, is the probability of a soft label. Where there is a
`separator` the pair is of two next steps of an answer, whose beginning is the prompt's last turn if that is the
assistant's: no end of turn follows a step that ends with it, so TRL's own tokenisation is wrong for these.

```python
from datasets import load_dataset
pairs = load_dataset("parquet", data_files="data/train-00000-of-00001.parquet", split="train")
```
"""


def export_pairs(store: ArtifactStore, run: str, stage: str, layout: Layout = "pairs") -> bytes:
    """The pairs that trained `stage`, new and replayed, as Parquet.

    They are also kept, with their card, under `runs/<run>/export/<stage>/`; the answers for KTO are not.

    Raises FileNotFoundError when that stage has no pairs.
    """
    name = plan.pairs(run, stage)
    if not store.exists(name):
        raise FileNotFoundError(f"{name} does not exist: only DPO stages that were reached have pairs (M2, M3, ...)")
    again = plan.replay(run, stage)
    names = [name, again] if store.exists(again) else [name]
    pairs = [PreferencePair.model_validate(row) for each in names for row in store.read_jsonl(each)]
    if layout == "kto":
        return kto_parquet(pairs)
    data = parquet(pairs)
    folder = f"runs/{run}/export/{stage}"
    store.write_bytes(f"{folder}/data/train-00000-of-00001.parquet", data)
    store.write_bytes(f"{folder}/README.md", card(run, stage, pairs).encode())
    return data
