"""Preference pairs as single labelled answers: the data of KTO (Ethayarajh et al. 2024, 2402.01306) in TRL's form."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from selfreward.contracts.judging import Message, PreferencePair


def labelled_answers(pairs: Iterable[PreferencePair]) -> list[dict[str, Any]]:
    """Rows `{prompt, completion, label, prompt_id}`: chosen answers are desirable, rejected ones are not.

    Each answer to a prompt is there once. One that is chosen in one pair and rejected in another says nothing by itself
    and is left out. ValueError for pairs of single steps.
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


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [message.model_dump() for message in messages]
