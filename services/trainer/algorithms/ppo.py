"""Proximal policy optimisation with a value head (1707.06347), as a transformers Trainer: TRL has none.

The value head is one linear layer on the policy's last hidden state. It is a submodule of the model, so that the
Trainer's checkpoints have it, and is removed before the model is published. One process, full weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from trl.trainer.utils import pad, selective_log_softmax

from selfreward.contracts.base import Message
from selfreward.contracts.reinforcement import RlHyper
from selfreward.contracts.training import TrainJob
from services.trainer.algorithms.ppo_losses import (
    advantages_and_returns,
    masked_mean,
    policy_loss,
    token_rewards,
    value_loss,
    whitened,
)
from services.trainer.algorithms.rewards import Verdicts
from services.trainer.training.arguments import batch_shape, shared_arguments
from services.trainer.training.checks import JobRefused, render
from services.trainer.training.data import training_order


@dataclass(frozen=True)
class SampledBatch:
    """A batch of sampled answers with what was known when they were written.

    `ids` and `attention` have shape (answers, tokens) over the prompt, padded on its left, and the answer. All others
    have shape (answers, answer tokens).
    """

    ids: torch.Tensor
    attention: torch.Tensor
    mask: torch.Tensor
    logps: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor

    def parts(self, size: int) -> Iterator["SampledBatch"]:
        """Consecutive answers, `size` at a time."""
        for start in range(0, len(self.ids), size):
            yield SampledBatch(*(getattr(self, field.name)[start : start + size] for field in fields(self)))


class PpoTrainer(Trainer):
    """Samples a batch of answers, has them judged, and takes `updates` steps on them."""

    def __init__(self, hyper: RlHyper, reference: Any, tokenizer: Any, verdicts: Verdicts, micro: int, **rest: Any):
        super().__init__(data_collator=lambda rows: {"rows": rows}, **rest)
        self._hyper = hyper
        self._reference = reference
        self._tokenizer = tokenizer
        self._verdicts = verdicts
        self._micro = micro
        self._batch: SampledBatch | None = None
        self._measured: dict[str, list[float]] = {}

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:  # noqa: ARG002
        """One pass over a batch of answers, sampled first when the last batch has had its `updates`."""
        if self._batch is None or self.state.global_step % self._hyper.updates == 0:
            self._batch = self._sample(model, inputs["rows"])
        tokens = self._batch.mask.sum()
        loss = torch.zeros((), device=self.args.device)
        for part in self._batch.parts(self._micro):
            share = self._loss(model, part) * part.mask.sum() / tokens
            self.accelerator.backward(share)
            loss += share.detach()
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log `logs` with the mean of each figure measured since the last call."""
        means = {name: fmean(values) for name, values in self._measured.items()}
        self._measured.clear()
        super().log({**logs, **means}, start_time)

    def _measure(self, **values: float) -> None:
        for name, value in values.items():
            self._measured.setdefault(name, []).append(value)

    @torch.no_grad()
    def _sample(self, model: Any, rows: Sequence[dict[str, Any]]) -> SampledBatch:
        """Answer the questions `rows`, have the answers judged, and compute what the loss needs of them."""
        # Sample one answer to each prompt, from the plain distribution at the job's temperature.
        hyper, device = self._hyper, self.args.device
        prompts = [torch.tensor(row["prompt_ids"]) for row in rows]
        filler = self._tokenizer.pad_token_id
        ids = pad(prompts, padding_value=filler, padding_side="left").to(device)
        attention = pad([torch.ones_like(prompt) for prompt in prompts], padding_side="left").to(device)
        model.eval()
        written = model.generate(
            input_ids=ids,
            attention_mask=attention,
            do_sample=True,
            temperature=hyper.temperature,
            top_p=1.0,
            top_k=0,
            max_new_tokens=hyper.max_tokens,
            pad_token_id=filler,
        )
        # Rewards are the judge's verdicts on the texts.
        answers = written[:, ids.shape[1] :]
        mask = answer_mask(answers, stop_ids(model, self._tokenizer))
        texts = [
            self._tokenizer.decode(answer[kept.bool()], skip_special_tokens=True)
            for answer, kept in zip(answers, mask, strict=True)
        ]
        questions, prompt_ids = [row["prompt"] for row in rows], [row["prompt_id"] for row in rows]
        verdicts = self._verdicts.rewards(questions, texts, prompt_ids, self.state.global_step + 1)
        rewards = torch.tensor(verdicts, device=device)
        # Log-probabilities and values under the policy that sampled, and log-probabilities under the reference.
        attention = torch.cat([attention, mask.long()], -1)
        parts = list(zip(torch.split(written, self._micro), torch.split(attention, self._micro), strict=True))
        length = answers.shape[1]
        old = [self._logps_and_values(model, *part) for part in parts]
        logps, values = (torch.cat(column)[:, -length:] for column in zip(*old, strict=True))
        reference = logps
        if self._reference is not None:
            reference = torch.cat([self._reference_logps(*part) for part in parts])[:, -length:]
        # Advantages of the answers' tokens.
        each = token_rewards(rewards, logps, reference, mask, hyper.beta)
        advantages, returns = advantages_and_returns(each, values, mask, hyper.ppo.gae_lambda)
        self._measure(
            reward=float(rewards.mean()),
            kl=float(masked_mean(logps - reference, mask)),
            length=float(mask.sum(-1).mean()),
            value=float(masked_mean(values, mask)),
        )
        return SampledBatch(written, attention, mask, logps, values, whitened(advantages, mask), returns)

    def _reference_logps(self, ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
        seen = self._reference(ids, attention_mask=attention, position_ids=positions(attention))
        return self._logps(seen.logits, ids)

    def _loss(self, model: Any, part: SampledBatch) -> torch.Tensor:
        hyper, ppo = self._hyper, self._hyper.ppo
        model.train()
        length = part.mask.shape[1]
        new = self._logps_and_values(model, part.ids, part.attention)
        logps, values = (column[:, -length:] for column in new)
        surrogate, clipped = policy_loss(logps, part.logps, part.advantages, hyper.clip)
        missed = value_loss(values, part.values, part.returns, ppo.value_clip)
        self._measure(
            clip_ratio=float(masked_mean(clipped, part.mask)), value_loss=float(masked_mean(missed.detach(), part.mask))
        )
        return masked_mean(surrogate, part.mask) + ppo.value_weight * masked_mean(missed, part.mask)

    def _logps_and_values(
        self, model: Any, ids: torch.Tensor, attention: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probability of every token but the first, and the value before it: `(answers, tokens - 1)` each."""
        seen = model(ids, attention_mask=attention, position_ids=positions(attention), output_hidden_states=True)
        values = model.value_head(seen.hidden_states[-1][:, :-1].float())[..., 0]
        return self._logps(seen.logits, ids), values

    def _logps(self, logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        logps: torch.Tensor = selective_log_softmax(logits[:, :-1].float() / self._hyper.temperature, ids[:, 1:])
        return logps


def ppo_trainer(
    job: TrainJob,
    hyper: RlHyper,
    model: Any,
    reference: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    verdicts: Verdicts,
    checkpoints: Path,
) -> PpoTrainer:
    """A trainer of `model`, which gets a value head, against the frozen `reference` (None where `hyper.beta` is 0).

    Raises JobRefused for what PPO cannot do here: several processes, adapters, gradient checkpointing.
    """
    if job.world_size > 1:
        raise JobRefused(f"world_size={job.world_size}: PPO is one process; use rl.algorithm='grpo' for several")
    if hyper.lora is not None or hyper.gradient_checkpointing:
        raise JobRefused("rl.lora and rl.gradient_checkpointing are not for PPO: leave them out, or use 'grpo'")
    add_value_head(model)
    micro, accumulation = batch_shape(hyper, 1)
    arguments = shared_arguments(job, hyper, checkpoints)
    arguments |= {"per_device_train_batch_size": micro * accumulation, "gradient_accumulation_steps": 1}
    arguments |= {"remove_unused_columns": False, "logging_steps": 1}
    return PpoTrainer(
        hyper,
        reference,
        tokenizer,
        verdicts,
        micro,
        model=model,
        processing_class=tokenizer,
        args=TrainingArguments(**arguments),
        train_dataset=question_order(rows, hyper, tokenizer, job.seed),
    )


def question_order(rows: Sequence[dict[str, Any]], hyper: RlHyper, tokenizer: Any, seed: int) -> Dataset:
    """The questions of the whole training in order: shuffled in each epoch, each question `group` times.

    Only whole batches count, and every batch is there as often as it is trained on (`updates`).
    """
    asked = [
        {**row, "prompt_ids": render(tokenizer, [Message(**turn) for turn in row["prompt"]], answer_next=True)}
        for row in rows
    ]
    order = training_order([0] * len(rows), hyper.epochs, 1, seed)
    size = hyper.batch_size // hyper.group
    batches = [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
    repeated = [place for batch in batches for _ in range(hyper.updates) for place in batch for _ in range(hyper.group)]
    return Dataset.from_list(asked).select(repeated)


def add_value_head(model: Any) -> None:
    """Put a value head on a causal language model.

    It starts at 0: the mean verdict is learned within a few steps, and a random start would only add noise to the first
    advantages.
    """
    model.value_head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1).to(model.device)
    torch.nn.init.zeros_(model.value_head.weight)
    torch.nn.init.zeros_(model.value_head.bias)


def drop_value_head(model: Any) -> None:
    """Remove the value head: the model is an ordinary language model again."""
    del model.value_head


def positions(attention: torch.Tensor) -> torch.Tensor:
    """Position ids of sequences that are padded on their left: 0 at the first real token."""
    return (attention.cumsum(-1) - 1).clamp(min=0)


def answer_mask(answers: torch.Tensor, stops: Sequence[int]) -> torch.Tensor:
    """1 up to and including the first token of `stops`, 0 after it, all 1 where there is none; shape as `answers`."""
    ended = torch.isin(answers, torch.tensor(list(stops), device=answers.device)).long()
    return (ended.cumsum(-1) - ended < 1).float()


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every token id that ends an answer: the generation config's and the tokenizer's."""
    own = model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    return sorted({token for token in [*listed, tokenizer.eos_token_id] if token is not None})
