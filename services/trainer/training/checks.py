"""Checks before any work starts, of what would otherwise fail or spoil the run hours later."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig

from selfreward.contracts.base import Message
from selfreward.contracts.training import TrainJob


class JobRefused(ValueError):
    """Bad input, found before training starts. The message names what is wrong, where, and the remedy."""


def check_world_size(job: TrainJob) -> None:
    """Raise JobRefused when the launcher started another number of processes (`WORLD_SIZE`) than the job asks for.

    Some launchers silently fall back to one process (`accelerate launch --cpu` does), which changes the batch size.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes != job.world_size:
        raise JobRefused(
            f"WORLD_SIZE={processes} but the job asks for world_size={job.world_size}: start it with "
            f"`torchrun --standalone --nproc-per-node {job.world_size} -m services.trainer.job SPEC`"
        )


def check_sharding(job: TrainJob) -> None:
    """Raise JobRefused for a sharded job without GPUs; accelerate would refuse it too, hours of loading later."""
    if job.sharding != "none" and not torch.cuda.is_available():
        raise JobRefused(
            f"sharding={job.sharding!r} needs GPUs and this machine has none: leave trainer.sharding out, or run the "
            "trainer's GPU image"
        )


def check_weights_present(folder: Path) -> None:
    """Raise JobRefused for a checkpoint folder without configuration or safetensors weights."""
    if not (folder / "config.json").is_file():
        raise JobRefused(f"{folder} has no config.json: give a checkpoint folder in Hugging Face layout")
    if not any(folder.glob("*.safetensors")):
        raise JobRefused(f"{folder} has no *.safetensors: save the model with safe serialisation (no pickles are read)")


def check_generation_config(folder: Path) -> GenerationConfig | None:
    """The generation config; None when the folder has none. Raises JobRefused for one that cannot be saved again.

    Sampling flags with `do_sample=false` load without an error and make `save_pretrained` fail after training.
    """
    if not (folder / "generation_config.json").is_file():
        return None
    config = GenerationConfig.from_pretrained(folder)
    try:
        config.validate(strict=True)
    except ValueError as error:
        raise JobRefused(
            f"{folder}/generation_config.json cannot be saved again: {error} "
            "Set do_sample=true, or remove the sampling flags"
        ) from error
    return config


def load_tokenizer(folder: Path, canary: list[Message]) -> Any:
    """The tokenizer of a folder, with a pad token.

    Raises JobRefused when its chat template does not end an assistant turn with a token that stops generation: a model
    trained with such a template never learns to stop, since TRL adds no EOS to conversational data. Also when a
    conversation with its answer does not begin with the tokens of the prompt that the engine is sent: the model would
    learn to answer another prompt.
    """
    stops = check_generation_config(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if tokenizer.chat_template is None:
        raise JobRefused(f"{folder} has no chat template: add chat_template.jinja to the tokenizer")
    if tokenizer.eos_token_id is None:
        raise JobRefused(f"{folder}: the tokenizer has no eos_token; set it to the token that ends a turn")
    # Generation stops at the tokenizer's end token and at those of the generation config.
    configured = stops.eos_token_id if stops is not None else None
    stop_ids = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    # The tokens of an assistant's turn, its end included, are what the template adds to the prompt.
    ids = render(tokenizer, [*canary, Message(role="assistant", content="1")])
    prompt = render(tokenizer, canary, answer_next=True)
    answer = ids[common_prefix(prompt, ids) :]
    if len(ids) - len(answer) < len(prompt):
        raise JobRefused(
            f"{folder}: the chat template writes a prompt in another way once its answer follows: "
            f"{tokenizer.decode(prompt)!r} alone and {tokenizer.decode(ids)!r} with the answer 1; make the latter "
            "begin with the former"
        )
    if not stop_ids & set(answer):
        raise JobRefused(
            f"{folder}: the chat template emits no stop token ({tokenizer.eos_token!r}) after the assistant's turn, so "
            "the model would never learn to stop; make the template end an assistant message with eos_token"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(tokenizer: Any, messages: list[Message], *, answer_next: bool = False) -> list[int]:
    """Token ids of a conversation by the chat template; with `answer_next` they end where the assistant begins."""
    turns = [message.model_dump() for message in messages]
    ids: list[int] = tokenizer.apply_chat_template(
        turns, add_generation_prompt=answer_next, tokenize=True, return_dict=False
    )
    return ids


def common_prefix(first: list[int], second: list[int]) -> int:
    """Length of the common beginning of two lists."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))
