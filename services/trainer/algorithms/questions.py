"""The prompts of an RL job: read and validated, and left out, counted, where no room is left for an answer."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.reinforcement import Question, RlHyper
from selfreward.recipe.recipe import explain
from selfreward.store.artifacts import ArtifactStore
from services.trainer.training.checks import render
from services.trainer.training.data import MOST_OVERLONG
from services.trainer.training.refusal import JobRefused

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Questions:
    """Rows `{"prompt_id", "prompt"}`, conversational, and how many others were left out as too long."""

    rows: list[dict[str, Any]]
    overlong: int


def read_questions(
    store: ArtifactStore, names: Sequence[str], tokenizer: Any, hyper: RlHyper, max_length: int
) -> Questions:
    """The questions whose prompt and an answer of `hyper.max_tokens` fit into `max_length` tokens.

    Raises JobRefused for a row that is no question, for too few of them for one batch, and where more than 1 % do not
    fit: then the lengths are wrong.
    """
    found = [question for name in names for question in _read(store, name)]
    room = max_length - hyper.max_tokens
    overlong = [question.prompt_id for question in found if _length(tokenizer, question) > room]
    if overlong:
        text = (
            f"{len(overlong)} of {len(found)} prompts leave no room for an answer of {hyper.max_tokens} tokens within "
            f"{max_length}: {', '.join(overlong[:3])}"
        )
        if len(overlong) > MOST_OVERLONG * len(found):
            raise JobRefused(f"{text}; lower rl.max_tokens, or raise rl.max_length (within the model's context)")
        _log.warning("%s; they are left out", text)
    left_out = set(overlong)
    rows = [question.model_dump(exclude={"pass_rate"}) for question in found if question.prompt_id not in left_out]
    needed = hyper.batch_size // hyper.group
    if len(rows) < needed:
        raise JobRefused(
            f"{len(rows)} questions are less than one batch: rl.batch_size={hyper.batch_size} answers with "
            f"rl.group={hyper.group} take {needed}; give more questions or a smaller batch"
        )
    return Questions(rows, len(overlong))


def _read(store: ArtifactStore, name: str) -> list[Question]:
    try:
        lines = store.read_bytes(name).splitlines()
    except FileNotFoundError:
        raise JobRefused(f"dataset {name!r} does not exist under {store.root}: write it before the job") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Question.model_validate(json.loads(line)))
        except json.JSONDecodeError as error:
            raise JobRefused(f"{name} row {number} is not JSON ({error}): write one JSON object on each line") from None
        except ValidationError as error:
            raise JobRefused(f"{name} row {number}: fix or drop the row:\n{explain(error)}") from None
    return found


def _length(tokenizer: Any, question: Question) -> int:
    return len(render(tokenizer, question.prompt, answer_next=True))
