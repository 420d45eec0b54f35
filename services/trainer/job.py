"""`python -m services.trainer.job SPEC`: one process of one job, from the spec to the published checkpoint.

SPEC is a `TrainJob` as JSON; its folder holds the job's progress and checkpoints. For `world_size` above 1 start it by
torchrun. Exit status 65: refused for bad input (the reason is in the progress file); 74: the disk is full; anything
else but 0: try again, and training goes on from the last complete checkpoint.
"""

import fcntl
import gc
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch.distributed
from peft import PeftModel
from transformers import set_seed

from selfreward.contracts.training import DpoHyper, SftHyper, TrainJob
from selfreward.processes.child import die_with_parent
from selfreward.server.disk import is_full
from selfreward.server.logging import configure_logging
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import InvalidArtifact, Lineage, verify_folder
from services.trainer.algorithms.dpo import dpo_trainer
from services.trainer.algorithms.logprobs import score
from services.trainer.algorithms.rl import finish, rl_trainer
from services.trainer.algorithms.sft import sft_trainer
from services.trainer.settings import TrainerSettings
from services.trainer.training.arguments import batch_shape, weights_dtype
from services.trainer.training.checkpoints import Reporter, drop_incomplete, last_checkpoint
from services.trainer.training.checks import (
    JobRefused,
    check_sharding,
    check_weights_present,
    check_world_size,
    load_tokenizer,
)
from services.trainer.training.data import dpo_rows, sft_rows
from services.trainer.training.models import context_length, load_model, stored_dtype, whole_model
from services.trainer.training.publish import publish_folder, publish_model
from services.trainer.worker.progress import PROGRESS_NAME, Progress

EX_DATAERR = 65
_log = logging.getLogger(__name__)


def main(spec: Path) -> int:
    """Run the job of a spec file; returns the exit status."""
    try:
        return _work(spec)
    except Exception as error:
        if not is_full(error):
            raise
        _log.exception("the disk is full")
        return os.EX_IOERR


def _work(spec: Path) -> int:
    settings = TrainerSettings()
    configure_logging(settings.log_level)
    job = TrainJob.model_validate_json(spec.read_bytes())
    rank = int(os.environ.get("RANK", "0"))
    if "LOCAL_RANK" in os.environ:
        die_with_parent()  # torchrun puts its processes out of reach of a signal to its own group
    lock = (spec.parent / f"lock-{rank}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # a job claimed from a worker that still works waits here, and finds it done
    progress = Progress(spec.parent / (PROGRESS_NAME if rank == 0 else f"progress-{rank}.json"), job.id)
    store = ArtifactStore(settings.artifacts, settings.artifact_cache)
    try:
        digest = run(job, store, spec.parent, progress)
    except (JobRefused, InvalidArtifact) as error:
        _log.error("job refused: %s", error)
        progress.update(state="failed", error=str(error))
        return EX_DATAERR
    if rank == 0:
        progress.update(state="done", uri=f"{store.root}/{job.output}", digest=digest)
    return 0


def run(job: TrainJob, store: ArtifactStore, folder: Path, progress: Progress) -> str:
    """Do the job; returns the digest of what it publishes (on ranks other than the first: an empty string).

    Raises JobRefused or InvalidArtifact before training when the job can never succeed.
    """
    check_world_size(job)
    check_sharding(job)
    if job.method == "logprobs":
        return score(job, store, folder, progress)
    checkpoints = folder / "checkpoints"
    if store.exists(job.output):
        shutil.rmtree(checkpoints, ignore_errors=True)
        return verify_folder(store.fetch(job.output))[1]
    parent, lineage = starting_point(job, store)
    check_weights_present(parent)
    tokenizer = load_tokenizer(parent, job.canary)
    if job.method == "publish":
        return publish_folder(store, job.output, parent, tokenizer, job.canary, lineage)
    # Other processes of this job may do so too: none of them trains before all have come this far.
    drop_incomplete(checkpoints)
    trainer = build_trainer(job, store, parent, tokenizer, checkpoints, progress)
    resumed = last_checkpoint(checkpoints)
    start = {"checkpoint": resumed.name if resumed else None, "world_size": job.world_size}
    _log.info("resuming" if resumed else "training", extra=start)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    first = trainer.is_world_process_zero()
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    # All processes take part; the first one is left with the whole.
    gathered = trainer.accelerator.get_state_dict(trainer.model) if job.sharding != "none" else None
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if not first:
        return ""
    del trainer
    if gathered is not None:
        model = whole_model(parent, gathered, torch.float32)
        del gathered
    gc.collect()
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    if job.method == "rl":
        finish(job, store, folder, model)
    model = model.to("cpu", stored_dtype(parent))
    digest = publish_model(store, job.output, model, parent, tokenizer, job.canary, lineage)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return digest


def starting_point(job: TrainJob, store: ArtifactStore) -> tuple[Path, Lineage]:
    """The folder that training starts from, verified, and the lineage of what comes of it."""
    lineage = Lineage(run=job.run, stage=job.stage, datasets=job.datasets, recipe_hash=job.recipe_hash, seed=job.seed)
    if job.method == "publish" and Path(job.init_from).is_dir():
        return Path(job.init_from), lineage
    try:
        folder = store.fetch(job.init_from)
        digest = verify_folder(folder)[1]
    except ValueError as error:
        known = "neither a folder nor an artifact" if job.method == "publish" else "not an artifact to start from"
        raise JobRefused(f"init_from={job.init_from!r} is {known}: {error}") from error
    changes = {"parent": job.init_from, "parent_digest": digest, "method": job.method}
    return folder, lineage.model_copy(update=changes)


def build_trainer(
    job: TrainJob, store: ArtifactStore, parent: Path, tokenizer: Any, checkpoints: Path, progress: Progress
) -> Any:
    """The TRL trainer of the job, with its rows checked and its models loaded."""
    trainer: Any
    if job.method == "rl":
        set_seed(job.seed)
        trainer = rl_trainer(job, store, parent, tokenizer, checkpoints, progress)
        trainer.add_callback(Reporter(progress))
        return trainer
    hyper: SftHyper | DpoHyper | None = job.sft or job.dpo
    if hyper is None:
        raise ValueError(f"method={job.method!r} has no training to build")
    batch_shape(hyper, job.world_size)
    max_length = min(hyper.max_length, context_length(parent))
    read = sft_rows if isinstance(hyper, SftHyper) else dpo_rows
    prepared = read(store, job.datasets, tokenizer, max_length)
    counts = {"rows": len(prepared.rows), "rows_overlong": prepared.overlong, "rows_identical": prepared.identical}
    progress.measured(counts)
    set_seed(job.seed)
    dtype = weights_dtype(hyper, stored_dtype(parent))
    model = load_model(parent, dtype)
    if isinstance(hyper, SftHyper):
        trainer = sft_trainer(job, hyper, model, tokenizer, prepared, checkpoints)
    else:
        reference = None
        if job.reference not in (None, job.init_from) or hyper.lora is None:
            reference = load_model(store.fetch(job.reference or job.init_from), dtype)
        trainer = dpo_trainer(job, hyper, model, reference, tokenizer, prepared, checkpoints)
    trainer.add_callback(Reporter(progress))
    return trainer


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
