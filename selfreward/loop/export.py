"""Preference data of a run as other tools read it: TRL's conversational format in JSON Lines, with a dataset card."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.judging import PreferencePair
from selfreward.files.export import COLUMNS, Kind, Layout
from selfreward.loop import plan
from selfreward.loop.kto import labelled_answers
from selfreward.store.artifacts import ArtifactStore

_FEATURES: dict[Kind, dict[str, Any]] = {
    "turns": {"list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]},
    "numbers": {"list": "float64"},
    "number": {"dtype": "float64"},
    "text": {"dtype": "string"},
}
"""A column's type as the header of a dataset card says it."""


def card(run: str, stage: str, pairs: Sequence[PreferencePair]) -> str:
    """The dataset card (README.md), whose header tells `datasets` where the file is and what its columns are.

    Without their types `datasets` guesses from the first rows, and a column that is null there ends the reading of
    a long file.
    """
    versions = ", ".join(sorted({pair.policy_version for pair in pairs}))
    rubrics = ", ".join(sorted({pair.rubric or "none (no judge)" for pair in pairs}))
    actor = sum(pair.kind == "actor" for pair in pairs)
    features = [{"name": name, **_FEATURES[kind]} for name, kind in COLUMNS["pairs"].items()]
    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.jsonl
dataset_info: {json.dumps({"features": features})}
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
pairs = load_dataset("path/to/this/folder", split="train")
```
"""


def export_pairs(store: ArtifactStore, run: str, stage: str, layout: Layout = "pairs") -> bytes:
    """The pairs that trained `stage`, new and replayed, as JSON Lines with the columns of `COLUMNS`.

    They are also kept, with their card, under `runs/<run>/export/<stage>/`; the answers for KTO are not.

    Raises FileNotFoundError when that stage has no pairs, and ValueError for KTO of pairs of single steps.
    """
    name = plan.pairs(run, stage)
    if not store.exists(name):
        raise FileNotFoundError(f"{name} does not exist: only DPO stages that were reached have pairs (M2, M3, ...)")
    again = plan.replay(run, stage)
    names = [name, again] if store.exists(again) else [name]
    pairs = [PreferencePair.model_validate(row) for each in names for row in store.read_jsonl(each)]
    if layout == "kto":
        return _lines(labelled_answers(pairs))
    data = _lines({**pair.model_dump(mode="json"), "margin": pair.margin} for pair in pairs)
    folder = f"runs/{run}/export/{stage}"
    store.write_bytes(f"{folder}/data/train-00000-of-00001.jsonl", data)
    store.write_bytes(f"{folder}/README.md", card(run, stage, pairs).encode())
    return data


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
