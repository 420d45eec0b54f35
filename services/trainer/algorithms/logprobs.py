"""Log-probabilities of a round's answers under several checkpoints, for implicit rewards.

Answers are rendered by the same chat template as for training, and the sum is over the tokens that training learns: the
answer and its end of turn. Finished batches are kept on disk, so a job that was killed goes on after the last of them.
"""

import gc
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from selfreward.contracts.base import Message
from selfreward.contracts.rollouts import ResponseLogprobs, Rollout
from selfreward.contracts.training import TrainJob
from selfreward.store.artifacts import ArtifactStore
from selfreward.store.manifest import verify_folder
from services.trainer.training.checks import JobRefused, common_prefix, load_tokenizer, render
from services.trainer.training.data import IGNORED, read_rows
from services.trainer.training.models import context_length, load_model, served_dtype
from services.trainer.worker.progress import Progress

BATCH_TOKENS = 8192
"""Tokens of one forward pass, padding included; a longer answer has a pass of its own."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """Token ids of a prompt with one answer; the first `start` of them are the prompt's."""

    prompt_id: str
    index: int
    ids: list[int]
    start: int


def write_logprobs(job: TrainJob, store: ArtifactStore, folder: Path, progress: Progress) -> str:
    """Write the job's `ResponseLogprobs`; returns the file's SHA-256. Raises JobRefused or InvalidArtifact.

    Does the missing part only: a file that exists is not computed again, nor are batches that an attempt has finished.
    """
    parts = folder / "checkpoints"
    if not store.exists(job.output):
        folders = {name: store.fetch(name) for name in job.checkpoints}
        for checkpoint in folders.values():
            verify_folder(checkpoint)
        tokenizer = load_tokenizer(store.fetch(job.init_from), job.canary)
        longest = min(context_length(checkpoint) for checkpoint in folders.values())
        sequences = _sequences(job, store, tokenizer, longest, progress)
        batches = batched([len(sequence.ids) for sequence in sequences])
        progress.update(total_steps=len(batches) * len(folders))
        sums = {}
        for number, (name, checkpoint) in enumerate(folders.items()):
            part = parts / f"logprobs-{number}.jsonl"
            sums[name] = _sums(checkpoint, sequences, batches, tokenizer.pad_token_id, part, progress)
        progress.write()
        rows = (_row(place, sequence, sums) for place, sequence in enumerate(sequences))
        store.write_jsonl(job.output, (row.model_dump(mode="json") for row in rows))
    shutil.rmtree(parts, ignore_errors=True)
    return hashlib.sha256(store.read_bytes(job.output)).hexdigest()


def _row(place: int, sequence: Answer, sums: dict[str, list[float]]) -> ResponseLogprobs:
    return ResponseLogprobs(
        prompt_id=sequence.prompt_id,
        index=sequence.index,
        tokens=len(sequence.ids) - sequence.start,
        logprobs={name: listed[place] for name, listed in sums.items()},
    )


def _sequences(job: TrainJob, store: ArtifactStore, tokenizer: Any, longest: int, progress: Progress) -> list[Answer]:
    """All answers of the rollouts. Those beyond the models' context have no probability: they are left out, counted."""
    answers: list[Answer] = []
    overlong: list[str] = []
    seen: set[str] = set()
    for where, rollout in read_rows(store, job.datasets, Rollout):
        if rollout.prompt_id in seen:
            raise JobRefused(f"{where}: prompt_id {rollout.prompt_id!r} is there twice; give each prompt once")
        seen.add(rollout.prompt_id)
        prompt = render(tokenizer, rollout.prompt, answer_next=True)
        for index, response in enumerate(rollout.responses):
            ids = render(tokenizer, [*rollout.prompt, Message(role="assistant", content=response.text)])
            if len(ids) > longest:
                overlong.append(f"{where} answer {index}")
                continue
            answers.append(Answer(rollout.prompt_id, index, ids, common_prefix(prompt, ids)))
    progress.measured({"rows": len(answers), "rows_overlong": len(overlong)})
    if overlong:
        _log.warning("%d answers exceed %d tokens: %s; left out", len(overlong), longest, ", ".join(overlong[:3]))
    if not answers:
        raise JobRefused(f"{job.datasets} hold no answer of at most {longest} tokens: there is nothing to score")
    return answers


def batched(lengths: Sequence[int], most: int = BATCH_TOKENS) -> list[list[int]]:
    """Indices of `lengths` in batches of similar length, each of at most `most` tokens when padded to its longest."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        if batches and (len(batches[-1]) + 1) * lengths[place] <= most:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def _sums(
    checkpoint: Path,
    sequences: Sequence[Answer],
    batches: Sequence[Sequence[int]],
    pad: int,
    part: Path,
    progress: Progress,
) -> list[float]:
    """The sum of each answer's log-probabilities under one checkpoint, in nats. `part` is the file of done batches."""
    done = _done(part)
    if len(done) < len(batches):
        part.parent.mkdir(parents=True, exist_ok=True)
        model = _load(checkpoint)
        with part.open("w") as stream:
            for batch in range(len(batches)):
                if batch >= len(done):
                    done.append(answer_logprobs(model, [sequences[place] for place in batches[batch]], pad))
                stream.write(json.dumps(done[batch]) + "\n")
                stream.flush()
                progress.step(progress.status.step + 1)
        del model
        gc.collect()
    sums = [0.0] * len(sequences)
    for places, values in zip(batches, done, strict=True):
        for place, value in zip(places, values, strict=True):
            sums[place] = value
    return sums


def _done(part: Path) -> list[list[float]]:
    """The batches that were written to `part` completely."""
    if not part.exists():
        return []
    return [json.loads(line) for line in part.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _load(checkpoint: Path) -> Any:
    """The model for inference: in its served dtype on all GPUs, or in float32 on a CPU."""
    # Here, since TRL takes seconds and every job imports this module.
    from trl.trainer.utils import add_fused_lm_head

    from services.trainer.algorithms.tiles import fit_to_cpu

    fit_to_cpu()
    on_gpu = torch.cuda.is_available()
    dtype = served_dtype(checkpoint) if on_gpu else torch.float32
    model = load_model(checkpoint, dtype, device_map="auto" if on_gpu else None)
    add_fused_lm_head(model, cast_lm_head_to_fp32=True)
    return model.eval()


def answer_logprobs(model: Any, sequences: Sequence[Answer], pad: int) -> list[float]:
    """The sum of the log-probabilities of each sequence's answer, in nats.

    `model` has TRL's fused head, which never holds the logits of all tokens at once; `pad` is the padding token's id.
    """
    # Rows are padded on the right; labels mark the answer's tokens.
    width = max(len(sequence.ids) for sequence in sequences)
    ids = torch.full((len(sequences), width), pad)
    labels = torch.full((len(sequences), width), IGNORED)
    mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        length = len(sequence.ids)
        ids[row, :length] = torch.tensor(sequence.ids)
        labels[row, sequence.start : length] = ids[row, sequence.start : length]
        mask[row, :length] = 1
    device = model.device
    with torch.inference_mode():
        outputs = model(
            input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), fused_lm_head=True
        )
    sums: list[float] = outputs.log_probs.double().sum(dim=1).tolist()
    return sums
