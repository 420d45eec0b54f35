"""A job of reinforcement learning on the policy's own verdicts: its questions, its judge, its algorithm's trainer."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfreward.contracts.reinforcement import JobVerdicts, Question, RlHyper
from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from services.trainer.algorithms.ppo import drop_value_head, ppo_trainer
from services.trainer.algorithms.rewards import SampleLog, Verdicts, all_samples
from services.trainer.training.arguments import batch_shape, load_start, with_precision
from services.trainer.training.checkpoints import last_checkpoint
from services.trainer.training.checks import JobRefused, render
from services.trainer.training.data import leave_out, read_rows
from services.trainer.training.models import context_length
from services.trainer.worker.progress import Progress


@dataclass(frozen=True)
class Questions:
    """Rows `{"prompt_id", "prompt"}`, conversational; `overlong` counts those left out because they are too long."""

    rows: list[dict[str, Any]]
    overlong: int


def rl_trainer(
    job: TrainJob, store: ArtifactStore, parent: Path, tokenizer: Any, checkpoints: Path, progress: Progress
) -> Any:
    """The trainer of the job, with its questions checked and its models loaded. Raises JobRefused."""
    hyper, rules = _sections(job)
    hyper = with_precision(hyper, parent)
    batch_shape(hyper, job.world_size)
    questions = read_questions(store, job.datasets, tokenizer, hyper, min(hyper.max_length, context_length(parent)))
    progress.measured({"rows": len(questions.rows), "rows_overlong": questions.overlong})
    # The record of samples goes back to the checkpoint that training goes on from.
    resumed = last_checkpoint(checkpoints)
    step = int(resumed.name.rpartition("-")[2]) if resumed else 0
    log = SampleLog(checkpoints.parent, int(os.environ.get("RANK", "0")), step)
    verdicts = Verdicts(rules, job.seed, log)
    model = load_start(hyper, parent)
    if hyper.algorithm == "ppo":
        reference = load_start(hyper, parent).eval() if hyper.beta else None
        return ppo_trainer(job, hyper, model, reference, tokenizer, questions.rows, verdicts, checkpoints)
    from services.trainer.algorithms.grpo import grpo_trainer  # here, since it loads vLLM, which no other job needs

    return grpo_trainer(job, hyper, model, tokenizer, questions.rows, verdicts, checkpoints)


def finish(job: TrainJob, store: ArtifactStore, folder: Path, model: Any) -> None:
    """Write the record of all sampled answers, and take off what PPO added to `model`, so that it can be published."""
    hyper, rules = _sections(job)
    store.write_jsonl(rules.samples, (sample.model_dump(mode="json") for sample in all_samples(folder)))
    if hyper.algorithm == "ppo":
        drop_value_head(model)


def read_questions(
    store: ArtifactStore, names: Sequence[str], tokenizer: Any, hyper: RlHyper, max_length: int
) -> Questions:
    """The questions whose prompt and an answer of `hyper.max_tokens` tokens fit into `max_length` tokens.

    Raises JobRefused for an invalid row, for too few questions for one batch, and where more than 1 % do not fit: then
    the lengths are wrong.
    """
    questions = [question for _, question in read_rows(store, names, Question)]
    room = max_length - hyper.max_tokens
    overlong = [
        question.prompt_id for question in questions if len(render(tokenizer, question.prompt, answer_next=True)) > room
    ]
    leave_out(
        overlong,
        len(questions),
        f"prompts leave no room for an answer of {hyper.max_tokens} tokens within {max_length}",
        "lower rl.max_tokens, or raise rl.max_length (within the model's context)",
    )
    left_out = set(overlong)
    rows = [question.model_dump(exclude={"pass_rate"}) for question in questions if question.prompt_id not in left_out]
    needed = hyper.batch_size // hyper.group
    if len(rows) < needed:
        raise JobRefused(
            f"{len(rows)} questions are less than one batch: rl.batch_size={hyper.batch_size} answers with "
            f"rl.group={hyper.group} take {needed}; give more questions or a smaller batch"
        )
    return Questions(rows, len(overlong))


def _sections(job: TrainJob) -> tuple[RlHyper, JobVerdicts]:
    if job.rl is None or job.verdicts is None:
        raise ValueError(f"job {job.id}: method={job.method!r} has no `rl` and `verdicts`")
    return job.rl, job.verdicts
