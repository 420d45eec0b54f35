"""A job of reinforcement learning on own verdicts: its questions, its judge, and the trainer of its algorithm."""

import os
from pathlib import Path
from typing import Any

from selfreward.contracts.reinforcement import JobVerdicts, RlHyper
from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from services.trainer.algorithms.ppo import drop_value_head, ppo_trainer
from services.trainer.algorithms.questions import read_questions
from services.trainer.algorithms.rewards import Verdicts
from services.trainer.algorithms.samples import SampleLog, all_samples
from services.trainer.training.arguments import batch_shape, weights_dtype
from services.trainer.training.checkpoints import last_checkpoint
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
