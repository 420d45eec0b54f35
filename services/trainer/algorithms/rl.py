"""A job of reinforcement learning on own verdicts: its questions, its judge, and the trainer of its algorithm."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from selfreward.contracts.base import explain
from selfreward.contracts.reinforcement import JobVerdicts, Question, RlHyper
from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from services.trainer.algorithms.ppo import drop_value_head, ppo_trainer
from services.trainer.algorithms.rewards import SampleLog, Verdicts, all_samples
from services.trainer.training.arguments import batch_shape, weights_dtype
from services.trainer.training.checkpoints import last_checkpoint
from services.trainer.training.checks import JobRefused, render
from services.trainer.training.data import MOST_OVERLONG
from services.trainer.training.models import context_length, load_model, stored_dtype
from services.trainer.worker.progress import Progress


def rl_trainer(
    job: TrainJob, store: ArtifactStore, parent: Path, tokenizer: Any, checkpoints: Path, progress: Progress
) -> Any:
    """The trainer of the job, with its questions checked and its models loaded. Raises JobRefused."""
    hyper, rules = _sections(job)
    batch_shape(hyper, job.world_size)
    questions = read_questions(store, job.datasets, tokenizer, hyper, min(hyper.max_length, context_length(parent)))
    progress.measured({"rows": len(questions.rows), "rows_overlong": questions.overlong})
    resumed = last_checkpoint(checkpoints)
    step = int(resumed.name.rpartition("-")[2]) if resumed else 0
    log = SampleLog(checkpoints.parent, int(os.environ.get("RANK", "0")), step)
    verdicts = Verdicts(rules, job.seed, log)
    dtype = weights_dtype(hyper, stored_dtype(parent))
    model = load_model(parent, dtype)
    if hyper.algorithm == "ppo":
        reference = load_model(parent, dtype).eval() if hyper.beta else None
        return ppo_trainer(job, hyper, model, reference, tokenizer, questions.rows, verdicts, checkpoints)
    from services.trainer.algorithms.grpo import grpo_trainer  # here, since it loads vLLM, which no other job needs

    return grpo_trainer(job, hyper, model, tokenizer, questions.rows, verdicts, checkpoints)


def finish(job: TrainJob, store: ArtifactStore, folder: Path, model: Any) -> None:
    """Write the record of all sampled answers, and leave a model that can be published."""
    hyper, rules = _sections(job)
    store.write_jsonl(rules.samples, (sample.model_dump(mode="json") for sample in all_samples(folder)))
    if hyper.algorithm == "ppo":
        drop_value_head(model)


def _sections(job: TrainJob) -> tuple[RlHyper, JobVerdicts]:
    if job.rl is None or job.verdicts is None:
        raise ValueError(f"job {job.id}: method={job.method!r} has no `rl` and `verdicts`")
    return job.rl, job.verdicts


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
