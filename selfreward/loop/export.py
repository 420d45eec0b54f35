"""Export of a run's preference data for other tools: TRL's conversational format as JSON Lines, with a dataset card."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import PreferencePair
from selfreward.loop import paths
from selfreward.store.artifacts import ArtifactStore

Layout = Literal["pairs", "kto"]
"""TRL's preference format, or single answers with a label for KTO."""
ColumnType = Literal["turns", "numbers", "number", "text", "truth"]
"""Type of a column: chat turns, a list of numbers, a number, a text, or a truth value."""
COLUMNS: dict[Layout, dict[str, ColumnType]] = {
    "pairs": {
        "prompt": "turns",
        "chosen": "turns",
        "rejected": "turns",
        "score_chosen": "number",
        "score_rejected": "number",
        "margin": "number",
        "votes_chosen": "numbers",
        "votes_rejected": "numbers",
        "kind": "text",
        "judge_version": "text",
        "policy_version": "text",
        "rubric": "text",
        "prompt_id": "text",
        "weight": "number",
        "separator": "text",
    },
    "kto": {"prompt": "turns", "completion": "turns", "label": "truth", "prompt_id": "text"},
}
"""The columns of each layout by name."""
_FEATURES: dict[ColumnType, dict[str, Any]] = {
    "turns": {"list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]},
    "numbers": {"list": "float64"},
    "number": {"dtype": "float64"},
    "text": {"dtype": "string"},
}
"""A column's type in the header of a dataset card."""


def card(run: str, stage: str, pairs: Sequence[PreferencePair]) -> str:
    """The dataset card (README.md). Its header gives `datasets` the file and the types of the columns.

    Without the types `datasets` guesses them from the first rows, and fails in a long file on a column that is null
    there.
    """
    versions = ", ".join(sorted({pair.policy_version for pair in pairs}))
    rubrics = ", ".join(sorted({pair.rubric or "none (no judge)" for pair in pairs}))
    actor = sum(pair.kind == "actor" for pair in pairs)
    features = [{"name": name, **_FEATURES[column]} for name, column in COLUMNS["pairs"].items()]
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

    The pairs are also stored, with their card, under `runs/<run>/export/<stage>/`; the answers for KTO are not.

    Raises FileNotFoundError if the stage has no pairs, and ValueError for KTO of pairs of single steps.
    """
    name = paths.pairs(run, stage)
    if not store.exists(name):
        raise FileNotFoundError(f"{name} does not exist: only DPO stages that were reached have pairs (M2, M3, ...)")
    replayed = paths.replay(run, stage)
    artifacts = [name, replayed] if store.exists(replayed) else [name]
    pairs = [PreferencePair.model_validate(row) for artifact in artifacts for row in store.read_jsonl(artifact)]
    if layout == "kto":
        return _lines(labelled_answers(pairs))
    data = _lines({**pair.model_dump(mode="json"), "margin": pair.margin} for pair in pairs)
    folder = paths.export(run, stage)
    store.write_bytes(f"{folder}/data/train-00000-of-00001.jsonl", data)
    store.write_bytes(f"{folder}/README.md", card(run, stage, pairs).encode())
    return data


def labelled_answers(pairs: Iterable[PreferencePair]) -> list[dict[str, Any]]:
    """Rows `{prompt, completion, label, prompt_id}`: chosen answers are desirable, rejected ones are not.

    Each answer to a prompt has one row. An answer that is chosen in one pair and rejected in another is left out.
    ValueError for pairs of single steps.
    """
    rows: dict[str, dict[str, Any]] = {}
    labels: dict[str, set[bool]] = {}
    for pair in pairs:
        if pair.separator is not None:
            raise ValueError(
                "layout = 'kto' is of whole answers, and these pairs are of single steps: export layout 'pairs'"
            )
        for completion, label in ((pair.chosen, True), (pair.rejected, False)):
            prompt, answer = _turns(pair.prompt), _turns(completion)
            key = json.dumps([prompt, answer])
            rows.setdefault(key, {"prompt": prompt, "completion": answer, "label": label, "prompt_id": pair.prompt_id})
            labels.setdefault(key, set()).add(label)
    return [row for key, row in rows.items() if len(labels[key]) == 1]


def _lines(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [message.model_dump() for message in messages]
