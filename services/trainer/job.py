"""`python -m services.trainer.job SPEC`: one process of one job, from the spec to the published checkpoint.

SPEC is a `TrainJob` as JSON; its folder holds the job's progress and checkpoints. torchrun starts the processes of a
job with `world_size` above 1. Exit status 0: done; 65: the job is refused, and the progress file says why; 74: the disk
is full; others: try again, and training goes on from the last complete checkpoint.
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
from selfreward.store.manifest import InvalidArtifact, Lineage, read_manifest, verify_folder
from services.trainer.algorithms.logprobs import write_logprobs
from services.trainer.settings import TrainerSettings
from services.trainer.training.arguments import batch_shape, load_start, with_precision
from services.trainer.training.checkpoints import Reporter, drop_incomplete, last_checkpoint
from services.trainer.training.checks import (
    JobRefused,
    check_sharding,
    check_weights_present,
    check_world_size,
    load_tokenizer,
)
from services.trainer.training.data import dpo_rows, sft_rows
from services.trainer.training.masters import merged_master
from services.trainer.training.models import context_length, whole_model
from services.trainer.training.publish import publish_folder, publish_model
from services.trainer.worker.progress import PROGRESS_NAME, Progress

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
    # A job claimed from a worker that still works on it waits here, and then finds the job done.
    lock = (spec.parent / f"lock-{rank}").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    progress = Progress(spec.parent / (PROGRESS_NAME if rank == 0 else f"progress-{rank}.json"), job.id)
    store = ArtifactStore(settings.artifacts, settings.artifact_cache)
    try:
        digest = run(job, store, spec.parent, progress)
    except (JobRefused, InvalidArtifact) as error:
        _log.error("job refused: %s", error)
        progress.update(state="failed", error=str(error))
        return os.EX_DATAERR
    if rank == 0:
        progress.update(state="done", uri=f"{store.root}/{job.output}", digest=digest)
    return 0


def run(job: TrainJob, store: ArtifactStore, folder: Path, progress: Progress) -> str:
    """Do the job; returns the digest of what it publishes, an empty string on ranks above 0.

    Raises JobRefused or InvalidArtifact before training when the job can never succeed.
    """
    # Everything that can be wrong is checked before anything is loaded.
    check_world_size(job)
    check_sharding(job)
    if job.method == "logprobs":
        return write_logprobs(job, store, folder, progress)
    checkpoints = folder / "checkpoints"
    # An earlier attempt may have published already.
    if store.exists(job.output):
        shutil.rmtree(checkpoints, ignore_errors=True)
        manifest, digest = verify_folder(store.fetch(job.output))
        progress.measured({"update_kept": manifest.update_kept})
        return digest
    parent, lineage = starting_point(job, store)
    check_weights_present(parent)
    tokenizer = load_tokenizer(parent, job.canary)
    if job.method == "publish":
        return publish_folder(store, job.output, parent, tokenizer, job.canary, lineage)
    # Train, from the last complete checkpoint where there is one. All processes of the job may drop the others: none
    # of them trains before all have come this far.
    drop_incomplete(checkpoints)
    trainer = build_trainer(job, store, parent, tokenizer, checkpoints, progress)
    resumed = last_checkpoint(checkpoints)
    start = {"checkpoint": resumed.name if resumed else None, "world_size": job.world_size}
    _log.info("resuming" if resumed else "training", extra=start)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    # All processes take part in gathering the weights; only the first gets the whole, and only it publishes.
    first = trainer.is_world_process_zero()
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    gathered = trainer.accelerator.get_state_dict(trainer.model) if job.sharding != "none" else None
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if not first:
        return ""
    # Make an ordinary model of it, in float32, and publish.
    del trainer
    if gathered is not None:
        model = whole_model(parent, gathered, torch.float32)
        del gathered
    gc.collect()
    if isinstance(model, PeftModel):
        model = merged_master(model, parent)
        gc.collect()
    if job.method == "rl":
        from services.trainer.algorithms.rl import finish

        finish(job, store, folder, model)
    digest = publish_model(store, job.output, model, parent, tokenizer, job.canary, lineage)
    progress.measured({"update_kept": read_manifest(store.fetch(job.output))[0].update_kept})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return digest


def starting_point(job: TrainJob, store: ArtifactStore) -> tuple[Path, Lineage]:
    """The verified folder that training starts from, and the lineage of the weights that it leads to.

    Raises JobRefused when `init_from` cannot be used.
    """
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
    """The TRL trainer of the job, with its rows checked and its models loaded. Raises JobRefused or InvalidArtifact.

    Each method's module is imported where it is needed: TRL takes seconds, and a job that publishes needs none of it.
    """
    from services.trainer.algorithms.tiles import fit_to_cpu

    fit_to_cpu()
    # Reinforcement learning has questions where the others have rows.
    trainer: Any
    if job.method == "rl":
        from services.trainer.algorithms.rl import rl_trainer

        set_seed(job.seed)
        trainer = rl_trainer(job, store, parent, tokenizer, checkpoints, progress)
        trainer.add_callback(Reporter(progress))
        return trainer
    hyper: SftHyper | DpoHyper | None = job.sft or job.dpo
    if hyper is None:
        raise ValueError(f"method={job.method!r} has no training to build")
    hyper = with_precision(hyper, parent)
    # Rows are read first: what is wrong with them is found before a model is loaded.
    batch_shape(hyper, job.world_size)
    max_length = min(hyper.max_length, context_length(parent))
    read = sft_rows if isinstance(hyper, SftHyper) else dpo_rows
    prepared = read(store, job.datasets, tokenizer, max_length)
    counts = {"rows": len(prepared.rows), "rows_overlong": prepared.overlong, "rows_identical": prepared.identical}
    progress.measured(counts)
    # Models. DPO with adapters on `init_from` has its reference in the model itself.
    set_seed(job.seed)
    model = load_start(hyper, parent)
    if isinstance(hyper, SftHyper):
        from services.trainer.algorithms.sft import sft_trainer

        trainer = sft_trainer(job, hyper, model, tokenizer, prepared, checkpoints)
    else:
        from services.trainer.algorithms.dpo import dpo_trainer

        reference = None
        if job.reference not in (None, job.init_from) or hyper.lora is None:
            reference = load_start(hyper, store.fetch(job.reference or job.init_from))
        trainer = dpo_trainer(job, hyper, model, reference, tokenizer, prepared, checkpoints)
    trainer.add_callback(Reporter(progress))
    return trainer


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
